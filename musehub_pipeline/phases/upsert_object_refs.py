"""Note which objects a repo holds. Only supplying the bytes earns a ref, never naming the hash."""

from collections.abc import Sequence

from musehub_pipeline.index.index import CHUNK_ROWS
from musehub_pipeline.phases.batch import Batch, Item, counted_each
from musehub_pipeline.phases.each_job import each_group
from musehub_pipeline.phases.services import WorkServices


def upsert_object_refs(batch: Batch, services: WorkServices) -> Batch:
    """Upsert the repo's claim on every object that its mpack supplied and it did not hold."""

    def upsert(items: Sequence[Item]) -> Sequence[Item]:
        jobs = [
            (item.claim.repo_id, [o.digest for o in item.unpacked.contents.unheld_objects])
            for item in items
        ]
        inserted = services.index.upsert_object_refs_together(jobs, run_id=batch.run_id)
        return counted_each(items, "object_refs_inserted", inserted)

    def upsert_alone(item: Item) -> Item:
        contents = item.unpacked.contents
        chunks = (
            [o.digest for o in chunk] for chunk in contents.unheld_objects.chunks(rows=CHUNK_ROWS)
        )
        inserted = services.index.upsert_object_refs(
            item.claim.repo_id, chunks, run_id=batch.run_id
        )
        return item.counted(object_refs_inserted=inserted)

    return each_group(batch, "upsert_object_refs", upsert, alone=upsert_alone)
