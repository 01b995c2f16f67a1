"""Indexing without Dagster: the phases as a run calls them."""

from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline_tests.hub import Hub


def index_all(hub: Hub) -> None:
    """Index all jobs that are due, batch by batch."""
    while _run(hub, publish=True).items:
        pass


def index_and_die(hub: Hub) -> None:
    """Write all that a batch has to write, and never end its jobs."""
    _run(hub, publish=False)


def _run(hub: Hub, *, publish: bool) -> Batch:
    with open_services(hub.settings) as services:
        batch = claim_jobs(services, run_id="run")
        for phase in PHASES:
            batch = phase(batch, services)
        return summarize(batch, services) if publish else batch
