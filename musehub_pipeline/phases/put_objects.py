"""Store the bytes of objects, before any row: no row ever points at bytes that are not there."""

from musehub_pipeline.domain.inventory import MISSING
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def put_objects(batch: Batch, services: WorkServices) -> Batch:
    """Store the bytes that storage lacks, in parallel, straight from scratch.

    A row is no proof that they are there. Where the repo gets its first ref to an object that
    another has, and where a job is indexed again, storage is asked, and what is gone is put again.
    """

    def put(item: Item) -> Item:
        _, mpack, contents = item.unpacked
        lost = services.objects.find_lost(contents.unproven_objects)
        contents.objects.mark(lost, MISSING)
        count = services.objects.put_objects(mpack, contents.missing_objects)
        return item.counted(objects_put=count.objects, object_bytes_put=count.size_bytes)

    # Bytes are on disk before the rows that name them: one sync for the whole batch.
    return each_job(batch, "put_objects", put, together=True, at_end=services.objects.sync)
