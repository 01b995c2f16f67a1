"""The asset `musehub/mpack_index`, which every run of `index_mpacks` feeds."""

from time import monotonic

import dagster as dg

from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.report import figures

MPACK_INDEX = dg.AssetSpec(
    ["musehub", "mpack_index"],
    description=(
        "The index of pushed mpacks: object bytes in object storage, rows in PostgreSQL. A run"
        " of index_mpacks that worked on any job adds one materialization with the figures of its"
        " batch: p50, p95 and maximum of each phase over the jobs that are done, the number of"
        " jobs by outcome, rows, bytes, and how long the oldest job had waited. Runs of"
        " backfill_mpacks add none, so that the figures are those of live pushes."
    ),
    group_name="musehub",
    kinds={"postgres", "s3"},
    tags={"musehub/job_type": "mpack.index"},
)


def materialize(context: dg.OpExecutionContext, batch: Batch) -> None:
    """Log how the jobs of a run fared, for the asset's page: one event."""
    if batch.items:
        seconds = monotonic() - batch.items[0].claimed_at
        metadata = figures(batch, seconds)
        context.log_event(dg.AssetMaterialization(MPACK_INDEX.key, metadata=metadata))
