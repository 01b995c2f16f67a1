"""Insert snapshots, whose objects the repo holds by now."""

from collections.abc import Iterator

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.slices import Slices
from musehub_pipeline.domain.snapshot import decode_snapshot, manifest_json
from musehub_pipeline.index.index import CHUNK_BYTES, CHUNK_ROWS, WORTH_ASKING, SnapshotRow
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def insert_snapshots(batch: Batch, services: WorkServices) -> Batch:
    """Insert the manifests that the repo lacks; those it has are not even decoded.

    Where a job is indexed again, all are.
    """

    def insert(item: Item) -> Item:
        _, mpack, contents = item.parts
        repo_id = item.claim.repo_id
        many = len(contents.snapshots) >= WORTH_ASKING
        asked = contents.snapshots.digests() if many and item.lease.passes_over else ()
        held = services.index.held("snapshot", repo_id, set(asked))
        rows = _rows(mpack, contents.snapshots.without(held))
        inserted = services.index.insert_snapshots(repo_id, rows)
        return item.counted(snapshots_inserted=inserted)

    return each_job(batch, "insert_snapshots", insert)


def _rows(source: Source, snapshots: Slices) -> Iterator[list[SnapshotRow]]:
    for chunk in snapshots.chunks(rows=CHUNK_ROWS, size_bytes=CHUNK_BYTES):
        rows: list[SnapshotRow] = []
        for place in chunk:
            snapshot = decode_snapshot(source.read(place.offset, place.size))
            rows.append(
                SnapshotRow(
                    ids.stored(snapshot.snapshot_id), manifest_json(snapshot), snapshot.created_at
                )
            )
        yield rows
