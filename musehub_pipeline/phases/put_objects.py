"""Store the bytes of objects, before any row: no row ever points at bytes that are not there."""

from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def put_objects(batch: Batch, services: WorkServices) -> Batch:
    """Store the bytes that storage lacks, in parallel, straight from scratch."""

    def put(item: Item) -> Item:
        _, mpack, contents = item.parts
        count = services.objects.put_objects(mpack, contents.missing_objects)
        return item.counted(objects_put=count.objects, object_bytes_put=count.size_bytes)

    # Bytes are on disk before the rows that name them: one sync for the whole batch.
    return each_job(batch, "put_objects", put, together=True, at_end=services.objects.sync)
