"""Take jobs: from the queue as late as possible, when the run starts, or from those that ended."""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from musehub_pipeline.domain.backfill import PastJob
from musehub_pipeline.domain.errors import Deferral, Fault, Rejection, Trouble
from musehub_pipeline.domain.ids import hex_of
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job, put_back_late
from musehub_pipeline.phases.services import Services, WorkServices
from musehub_pipeline.postgres.blips import through_blips
from musehub_pipeline.queue.lease import Lease


def claim_jobs(services: Services, *, run_id: str, job_ids: Sequence[str] = ()) -> Batch:
    """Lease pending jobs, oldest first, up to `batch_jobs` and `batch_bytes`; or those named.

    What runs that died have left is pending again. A job over the bytes is put back at once,
    without spending an attempt; the first job is taken whatever its size.

    Raises:
        Transient: DATABASE_UNAVAILABLE; or SCRATCH_UNAVAILABLE, and nothing is claimed.
    """
    services.make_scratch()
    services.heartbeat.begin(run_id, claims=True)
    rescued = through_blips(services.queue.rescue)
    limit = services.settings.batch_jobs
    leases = through_blips(services.queue.claim, run_id=run_id, limit=limit, job_ids=job_ids)
    batch = put_back_late(_batch(leases, services, run_id=run_id))
    return replace(batch, rescued=tuple(rescued))


def claim_past(services: Services, *, run_id: str, jobs: Sequence[PastJob]) -> Batch:
    """Lease jobs that have ended, to index them again; what changed since the plan is left out.

    Raises:
        Transient: DATABASE_UNAVAILABLE; or SCRATCH_UNAVAILABLE, and nothing is claimed.
    """
    services.make_scratch()
    services.heartbeat.begin(run_id)
    leases = through_blips(services.archive.claim, jobs, run_id=run_id)
    return _batch(leases, services, run_id=run_id)


def _batch(leases: Sequence[Lease], services: WorkServices, *, run_id: str) -> Batch:
    now = monotonic()
    batch = Batch(run_id=run_id, items=tuple(Item(lease=each, claimed_at=now) for each in leases))
    repo_ids = [lease.claim.repo_id for lease in leases]
    repos = through_blips(services.index.existing_repos, repo_ids)

    def read(item: Item) -> Item:
        job = item.lease.job()
        deleted = repos.get(item.claim.repo_id)
        if deleted is None:
            raise Rejection(Fault.REPO_UNKNOWN, f"no repository {item.claim.repo_id!r}")
        if deleted:
            raise Rejection(Fault.REPO_DELETED, f"repository {item.claim.repo_id!r} is deleted")
        return replace(item, job=job, size_bytes=services.objects.mpack_size(hex_of(job.mpack_key)))

    return _within_bytes(
        each_job(batch, "claim_jobs", read, together=True), services.settings.batch_bytes
    )


def _within_bytes(batch: Batch, batch_bytes: int) -> Batch:
    """Put off what does not fit, and with it all that follows: the queue stays in order."""
    total = 0
    full = False
    items: list[Item] = []
    for item in batch.items:
        size = item.size_bytes or 0
        full = full or (total > 0 and total + size > batch_bytes)
        total += size
        late = Deferral(Trouble.OVER_BATCH, f"the batch is full at {batch_bytes} bytes")
        items.append(replace(item, error=late) if full and item.error is None else item)
    return replace(batch, items=tuple(items))
