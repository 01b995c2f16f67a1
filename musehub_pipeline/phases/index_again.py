"""Index jobs again that are named, as a backfill does it, in this process and without Dagster."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from time import sleep

from musehub_pipeline.domain.backfill import (
    MOST_WAITING,
    Select,
    Selection,
    pause_seconds,
    split_into_batches,
)
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.claim_jobs import claim_past
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.plan_backfill import plan_backfill
from musehub_pipeline.phases.services import Services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline.postgres.blips import through_blips


def index_again(services: Services, job_ids: Collection[str], *, run_id: str) -> Iterator[Batch]:
    """Index those of the jobs again that have ended, oldest first; yield each batch, summarized.

    Live pushes go first. Whatever becomes of a job, it is no worse off than before, and no branch
    moves. One that is given up, or that another run has, is in no batch.

    Raises:
        Transient: DATABASE_UNAVAILABLE or STORAGE_UNAVAILABLE, where it stays away.
    """
    selection = Selection(
        since=datetime.min.replace(tzinfo=UTC),
        before=datetime.max.replace(tzinfo=UTC),
        select=Select.ALL,
        job_ids=tuple(sorted(job_ids)),
    )
    jobs = plan_backfill(services, selection)
    settings = services.settings
    batched = split_into_batches(
        jobs,
        batch_jobs=settings.batch_jobs,
        batch_bytes=settings.batch_bytes,
        batch_rows=settings.max_objects,
    )
    for planned in batched:
        backlog = through_blips(services.queue.backlog, limit=MOST_WAITING)
        sleep(pause_seconds(len(backlog.due)))
        batch = claim_past(services, run_id=run_id, jobs=planned)
        for phase in PHASES:
            batch = phase(batch, services)
        yield summarize(batch, services)
