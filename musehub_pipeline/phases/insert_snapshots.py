"""Insert snapshots, whose objects the repo holds by now."""

from functools import partial

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.places import Place
from musehub_pipeline.domain.snapshot import decode_snapshot
from musehub_pipeline.index.index import WORTH_ASKING, SnapshotRow, in_chunks
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def insert_snapshots(batch: Batch, services: WorkServices) -> Batch:
    """Insert the manifests that the repo lacks; those it has are not even decoded.

    Where a job is indexed again, all are.
    """
    batch.forget("object")

    def insert(item: Item) -> Item:
        _, mpack, contents = item.parts
        repo_id = item.claim.repo_id
        snapshots = contents.snapshots
        if len(snapshots) >= WORTH_ASKING and item.lease.passes_over:
            snapshots = services.index.lacking("snapshot", repo_id, snapshots)
        rows = map(partial(_row, mpack), snapshots)
        inserted = services.index.insert_snapshots(repo_id, in_chunks(rows))
        return item.counted(snapshots_inserted=inserted)

    return each_job(batch, "insert_snapshots", insert)


def _row(source: Source, place: Place) -> SnapshotRow:
    snapshot = decode_snapshot(source.read(place.offset, place.size))
    snapshot_id = ids.stored(snapshot.snapshot_id)
    return SnapshotRow(snapshot_id, snapshot.manifest.json(), snapshot.created_at)
