"""The Dagster jobs: chains of the ops, in one process."""

import dagster as dg
from dagster import mem_io_manager

from musehub_pipeline.orchestration.ops import PHASE_OPS, claim_jobs, summarize


@dg.graph
def index_mpacks() -> None:
    """Index a batch of pushed mpacks: claim, seven phases, publish."""
    batch = claim_jobs()
    for op in PHASE_OPS:
        batch = op(batch)
    summarize(batch)


def index_mpacks_job(musehub: dg.ResourceDefinition | dg.ConfigurableResource) -> dg.JobDefinition:  # pyright: ignore[reportMissingTypeArgument]
    """Return the job that indexes a batch with the services of `musehub`.

    It runs in one process, and its IO manager is memory, also in production: what passes between
    ops is paths and numbers, and there is one scratch folder.
    """
    return index_mpacks.to_job(
        resource_defs={"musehub": musehub, "io_manager": mem_io_manager},
        executor_def=dg.in_process_executor,
        # What passed between ops is gone with the process: only the row is left to start from.
        tags={"dagster/retry_strategy": "ALL_STEPS"},
    )
