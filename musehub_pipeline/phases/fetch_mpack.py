"""Bring the mpacks from storage to scratch, but for those that can be read where they lie."""

from dataclasses import replace
from hashlib import sha256

from musehub_pipeline.domain.ids import hex_of
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def fetch_mpack(batch: Batch, services: WorkServices) -> Batch:
    """Hash every mpack, on its way to scratch if it has to go there: the hash must be its key."""

    def fetch(item: Item) -> Item:
        if item.job is None:
            raise RuntimeError(f"job {item.claim.job_id} has not been read")
        path = services.scratch / f"{sha256(item.claim.job_id.encode()).hexdigest()}.mpack"
        mpack = services.objects.fetch_mpack(
            hex_of(item.job.mpack_key),
            path,
            limit=services.settings.limits.mpack_bytes,
            expected=item.size_bytes,
        )
        return replace(item, size_bytes=mpack.size, mpack=mpack)

    return each_job(batch, "fetch_mpack", fetch, together=True)
