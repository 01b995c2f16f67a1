"""Insert the rows of objects, whose bytes are stored by now."""

from collections.abc import Sequence

from musehub_pipeline.index.index import CHUNK_ROWS
from musehub_pipeline.phases.batch import Batch, Item, counted_each
from musehub_pipeline.phases.each_job import each_group
from musehub_pipeline.phases.services import WorkServices


def insert_objects(batch: Batch, services: WorkServices) -> Batch:
    """Upsert the objects that had no row, or one of another size, into `musehub_objects`."""
    uri = services.objects.objects_uri

    def insert(items: Sequence[Item]) -> Sequence[Item]:
        jobs = [
            [(o.digest, o.size) for o in item.unpacked.contents.missing_objects] for item in items
        ]
        inserted = services.index.insert_objects_together(jobs, uri=uri, run_id=batch.run_id)
        return counted_each(items, "objects_inserted", inserted)

    def insert_alone(item: Item) -> Item:
        contents = item.unpacked.contents
        chunks = (
            [(o.digest, o.size) for o in chunk]
            for chunk in contents.missing_objects.chunks(rows=CHUNK_ROWS)
        )
        inserted = services.index.insert_objects(chunks, uri=uri, run_id=batch.run_id)
        return item.counted(objects_inserted=inserted)

    return each_group(batch, "insert_objects", insert, alone=insert_alone)
