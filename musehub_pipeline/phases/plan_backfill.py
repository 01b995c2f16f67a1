"""Plan what is indexed again: the jobs that have ended, and how large their mpacks are."""

from dataclasses import replace

from musehub_pipeline.domain.backfill import PastJob, Selection
from musehub_pipeline.domain.ids import hex_of, is_id
from musehub_pipeline.phases.services import Services
from musehub_pipeline.postgres.blips import through_blips


def plan_backfill(services: Services, selection: Selection) -> list[PastJob]:
    """Return the jobs of a selection, oldest first, with all sizes: the unread are asked for.

    Else a batch of jobs that had failed would be larger than a run can hold, and cut short when it
    is claimed. A job has no bytes where its mpack is not there, or its payload names none.

    Raises:
        Transient: DATABASE_UNAVAILABLE or STORAGE_UNAVAILABLE.
    """
    jobs = through_blips(services.archive.plan, selection)
    unread = {job.unread_key for job in jobs if job.unread_key is not None}
    digests = {key: hex_of(key) for key in unread if is_id(key)}
    found = services.objects.find_mpacks(set(digests.values()))
    sizes = {key: found[digest].size_bytes for key, digest in digests.items() if digest in found}
    return [
        job if job.unread_key is None else replace(job, size_bytes=sizes.get(job.unread_key, 0))
        for job in jobs
    ]
