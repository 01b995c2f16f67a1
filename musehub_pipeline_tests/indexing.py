"""Indexing without Dagster: the phases as a run calls them."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from musehub_pipeline.domain.backfill import Select, Selection
from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.claim_jobs import claim_jobs, claim_past
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline_tests.hub import Hub


def index_all(hub: Hub) -> None:
    """Index all jobs that are due, batch by batch."""
    while index_batch(hub).items:
        pass


def index_one(hub: Hub, job_id: str) -> dict[str, Any]:
    """Index a job that is due, and no other; return its result, which is empty if it failed.

    `Hub.index` does it through Dagster, which takes much longer.
    """
    index_batch(hub, job_ids=[job_id])
    return hub.job(job_id)["result"] or {}


def index_and_die(hub: Hub) -> None:
    """Write all that a batch has to write, and never end its jobs."""
    index_batch(hub, publish=False)


def index_again(
    hub: Hub,
    *,
    only: Collection[str] = (),
    once_planned: Callable[[], object] = lambda: None,
    meanwhile: Callable[[], object] = lambda: None,
    publish: bool = True,
) -> dict[str, Outcome | None]:
    """Index all jobs that have ended again, or those, as one batch; return what became of each.

    `once_planned` happens when nothing is claimed yet, `meanwhile` when all has been written, and
    nothing is published.
    """
    selection = Selection(
        since=datetime.min.replace(tzinfo=UTC),
        before=datetime.max.replace(tzinfo=UTC),
        select=Select.ALL,
    )
    with open_services(hub.settings) as services:
        jobs = [job for job in services.archive.plan(selection) if not only or job.job_id in only]
        once_planned()
        batch = claim_past(services, run_id="again", jobs=jobs)
        for phase in PHASES:
            batch = phase(batch, services)
        meanwhile()
        if publish:
            batch = summarize(batch, services)
    return {item.claim.job_id: item.outcome for item in batch.items}


def index_batch(
    hub: Hub,
    *,
    run_id: str = "run",
    job_ids: Sequence[str] = (),
    before: Callable[[str], object] = lambda _: None,
    publish: bool = True,
) -> Batch:
    """Index a batch of what is due, or those; something may happen before each op, by its name."""
    with open_services(hub.settings) as services:
        before(claim_jobs.__name__)
        batch = claim_jobs(services, run_id=run_id, job_ids=job_ids)
        for phase in PHASES:
            before(phase.__name__)
            batch = phase(batch, services)
        before(summarize.__name__)
        return summarize(batch, services) if publish else batch
