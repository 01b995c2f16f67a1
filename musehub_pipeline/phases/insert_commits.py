"""Insert commits, whose snapshots the repo holds by now. A branch moves to them only at the end."""

from functools import partial

from musehub_pipeline.domain.commit import CommitRow, decode_commit, row_of
from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.places import Place
from musehub_pipeline.index.index import WORTH_ASKING, in_chunks
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def insert_commits(batch: Batch, services: WorkServices) -> Batch:
    """Insert the commits that the repo lacks."""
    batch.forget("snapshot")

    def insert(item: Item) -> Item:
        _, mpack, contents = item.parts
        repo_id = item.claim.repo_id
        commits = contents.commits
        if len(commits) >= WORTH_ASKING and item.lease.passes_over:
            commits = services.index.lacking("commit", repo_id, commits)
        rows = map(partial(_row, mpack), commits)
        inserted = services.index.insert_commits(repo_id, in_chunks(rows))
        return item.counted(commits_inserted=inserted)

    return each_job(batch, "insert_commits", insert)


def _row(source: Source, place: Place) -> CommitRow:
    raw = source.read(place.offset, place.size)
    return row_of(decode_commit(raw), raw)
