"""Insert the rows of objects, whose bytes are stored by now."""

from musehub_pipeline.index.index import CHUNK_ROWS
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def insert_objects(batch: Batch, services: WorkServices) -> Batch:
    """Upsert the objects that had no row, or one of another size, into `musehub_objects`."""

    def insert(item: Item) -> Item:
        _, _, contents = item.parts
        chunks = (
            [(o.digest, o.size) for o in chunk]
            for chunk in contents.missing_objects.chunks(rows=CHUNK_ROWS)
        )
        inserted = services.index.insert_objects(chunks, uri=services.objects.objects_uri)
        return item.counted(objects_inserted=inserted)

    return each_job(batch, "insert_objects", insert)
