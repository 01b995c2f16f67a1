"""Note which objects a repo holds. Only supplying the bytes earns a ref, never naming the hash."""

from musehub_pipeline.index.index import CHUNK_ROWS
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def upsert_object_refs(batch: Batch, services: WorkServices) -> Batch:
    """Upsert the repo's claim on every object that its mpack supplied and it did not hold."""

    def upsert(item: Item) -> Item:
        _, _, contents = item.parts
        chunks = (
            [o.digest for o in chunk] for chunk in contents.unheld_objects.chunks(rows=CHUNK_ROWS)
        )
        inserted = services.index.upsert_object_refs(item.claim.repo_id, chunks)
        return item.counted(object_refs_inserted=inserted)

    return each_job(batch, "upsert_object_refs", upsert)
