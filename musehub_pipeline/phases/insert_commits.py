"""Insert commits, whose snapshots the repo holds by now. A branch moves to them only at the end."""

from collections.abc import Iterator

from musehub_pipeline.domain.commit import CommitRow, decode_commit, row_of
from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.slices import Slices
from musehub_pipeline.index.index import CHUNK_BYTES, CHUNK_ROWS, WORTH_ASKING
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job
from musehub_pipeline.phases.services import WorkServices


def insert_commits(batch: Batch, services: WorkServices) -> Batch:
    """Insert the commits that the repo lacks."""

    def insert(item: Item) -> Item:
        _, mpack, contents = item.parts
        repo_id = item.claim.repo_id
        many = len(contents.commits) >= WORTH_ASKING
        asked = contents.commits.digests() if many and item.lease.passes_over else ()
        held = services.index.held("commit", repo_id, set(asked))
        rows = _rows(mpack, contents.commits.without(held))
        return item.counted(commits_inserted=services.index.insert_commits(repo_id, rows))

    return each_job(batch, "insert_commits", insert)


def _rows(source: Source, commits: Slices) -> Iterator[list[CommitRow]]:
    for chunk in commits.chunks(rows=CHUNK_ROWS, size_bytes=CHUNK_BYTES):
        packed = (source.read(place.offset, place.size) for place in chunk)
        yield [row_of(decode_commit(raw), raw) for raw in packed]
