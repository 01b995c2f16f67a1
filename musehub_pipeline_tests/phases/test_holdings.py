"""What earlier jobs of a batch bring to a repo counts for the later ones, however it is kept."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.domain.ancestry import Ancestry
from musehub_pipeline.domain.inventory import MISSING
from musehub_pipeline.domain.job import Job
from musehub_pipeline.domain.places import Place, Places
from musehub_pipeline.index.index import Index
from musehub_pipeline.phases.batch import Contents
from musehub_pipeline.phases.holdings import Holdings, Stored
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.hub import Hub

A, B, C, X, Y = (bytes([number]) * 32 for number in range(5))


@pytest.fixture
def holdings(hub: Hub) -> Iterator[Holdings]:
    with Database(str(hub.settings.database_url)) as database, Index(database) as index:
        yield Holdings(hub.create_repo(), Stored(index))


def contents(*, objects: bytes = b"", snapshots: bytes = b"", commits: bytes = b"") -> Contents:
    def table(digests: bytes, marks: int = 0) -> Places:
        places = Places()
        for start in range(0, len(digests), 32):
            places.append(Place(digests[start : start + 32], start, 7 + start), marks)
        return places.sorted_unique()

    return Contents(
        objects=table(objects, MISSING),
        snapshots=table(snapshots),
        commits=table(commits),
        objects_total=0,
        unverified_ids=0,
        old_head=None,
    )


def job(head: bytes) -> Job:
    payload = {"mpack_key": "0" * 64, "branch": "main", "head": head.hex()}
    return Job.from_payload(payload)


def ancestry(*rows: tuple[bytes, tuple[bytes, ...]]) -> Ancestry:
    table = Ancestry()
    for commit, parents in rows:
        table.append(commit, parents)
    return table


@pytest.mark.parametrize("compact", [True, False])
def test_what_two_jobs_bring_is_held(holdings: Holdings, compact: bool) -> None:
    first = contents(objects=A + B, snapshots=A, commits=A)
    second = contents(objects=C, snapshots=B, commits=B)
    holdings.supply(job(A), first, ancestry((A, ())), compact=compact)
    holdings.supply(job(B), second, ancestry((B, (A,))), compact=compact)

    assert holdings.held("object", {A, B, C, X}) == {A, B, C}
    assert holdings.held("snapshot", {A, B, C}) == {A, B}
    assert holdings.held("commit", {A, B, C}) == {A, B}
    assert holdings.object_sizes({A, B, C, X}) == {A: 7, B: 39, C: 7}
    assert holdings.head("main") == f"sha256:{B.hex()}"
    assert holdings.descends(X, A, ancestry((X, (B,))))
    assert not holdings.descends(A, B, ancestry((X, (B,))))


@pytest.mark.parametrize("compact", [True, False])
def test_of_a_commit_that_came_twice_the_first_parents_count(
    holdings: Holdings, compact: bool
) -> None:
    """Those are stored; by the others a branch would seem to move on, and lose its history."""
    twice = ancestry((X, (A,)), (X, (B,)))
    holdings.supply(job(X), contents(commits=X), twice, compact=compact)

    assert holdings.descends(Y, A, ancestry((Y, (X,))))
    assert not holdings.descends(Y, B, ancestry((Y, (X,))))
