"""Insert snapshots, whose objects the repo holds by now."""

from collections.abc import Iterator, Sequence

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.places import Places
from musehub_pipeline.domain.snapshot import decode_snapshot
from musehub_pipeline.index.index import WORTH_ASKING, SnapshotRow, in_chunks
from musehub_pipeline.phases.batch import Batch, Item, counted_each
from musehub_pipeline.phases.each_job import each_group
from musehub_pipeline.phases.services import WorkServices


def insert_snapshots(batch: Batch, services: WorkServices) -> Batch:
    """Insert the manifests that the repo lacks; those it has are not even decoded.

    Where a job is indexed again, all are.
    """
    batch.forget("object")

    def insert(items: Sequence[Item]) -> Sequence[Item]:
        jobs = [
            (item.claim.repo_id, _rows(item, item.unpacked.contents.snapshots)) for item in items
        ]
        inserted = services.index.insert_snapshots_together(jobs, run_id=batch.run_id)
        return counted_each(items, "snapshots_inserted", inserted)

    def insert_alone(item: Item) -> Item:
        repo_id, snapshots = item.claim.repo_id, item.unpacked.contents.snapshots
        if len(snapshots) >= WORTH_ASKING and item.lease.passes_over:
            snapshots = services.index.lacking("snapshot", repo_id, snapshots)
        inserted = services.index.insert_snapshots(
            repo_id, in_chunks(_rows(item, snapshots)), run_id=batch.run_id
        )
        return item.counted(snapshots_inserted=inserted)

    return each_group(batch, "insert_snapshots", insert, alone=insert_alone)


def _rows(item: Item, snapshots: Places) -> Iterator[SnapshotRow]:
    mpack = item.unpacked.mpack
    for place in snapshots:
        snapshot = decode_snapshot(mpack.read(place.offset, place.size))
        snapshot_id = ids.stored(snapshot.snapshot_id)
        yield SnapshotRow(snapshot_id, snapshot.manifest.json(), snapshot.created_at)
