"""Insert commits, whose snapshots the repo holds by now. A branch moves to them only at the end."""

from collections.abc import Iterator, Sequence

from musehub_pipeline.domain.commit import CommitRow, decode_commit, row_of
from musehub_pipeline.domain.places import Places
from musehub_pipeline.index.index import WORTH_ASKING, in_chunks
from musehub_pipeline.phases.batch import Batch, Item, counted_each
from musehub_pipeline.phases.each_job import each_group
from musehub_pipeline.phases.services import WorkServices


def insert_commits(batch: Batch, services: WorkServices) -> Batch:
    """Insert the commits that the repo lacks."""
    batch.forget("snapshot")

    def insert(items: Sequence[Item]) -> Sequence[Item]:
        jobs = [(item.claim.repo_id, _rows(item, item.unpacked.contents.commits)) for item in items]
        inserted = services.index.insert_commits_together(jobs, run_id=batch.run_id)
        return counted_each(items, "commits_inserted", inserted)

    def insert_alone(item: Item) -> Item:
        repo_id, commits = item.claim.repo_id, item.unpacked.contents.commits
        if len(commits) >= WORTH_ASKING and item.lease.passes_over:
            commits = services.index.lacking("commit", repo_id, commits)
        inserted = services.index.insert_commits(
            repo_id, in_chunks(_rows(item, commits)), run_id=batch.run_id
        )
        return item.counted(commits_inserted=inserted)

    return each_group(batch, "insert_commits", insert, alone=insert_alone)


def _rows(item: Item, commits: Places) -> Iterator[CommitRow]:
    mpack = item.unpacked.mpack
    for place in commits:
        raw = mpack.read(place.offset, place.size)
        yield row_of(decode_commit(raw), raw)
