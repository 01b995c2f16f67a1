"""Sets of digests: as sets of Python are, whether they are few or many."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import pytest

from musehub_pipeline.domain import digests as module
from musehub_pipeline.domain.digests import DigestSet


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8)).digest()


@dataclass(frozen=True)
class Said:
    """Digests that are said again and again."""

    those: list[bytes]

    def digests(self) -> Iterator[bytes]:
        return iter(self.those)


@pytest.fixture(params=[1, 7, 100_000], ids="{} recent ones".format)
def _most_recent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_RECENT", request.param)
    monkeypatch.setattr(module, "_COMPARED", request.param)


@pytest.mark.usefixtures("_most_recent")
def test_each_digest_is_there_once_however_often_it_is_added() -> None:
    numbers = [n * n % 91 for n in range(1_000)]

    found = DigestSet(map(digest, numbers))
    again = DigestSet(found.digests())

    assert len(found) == len(again) == len(set(numbers))
    assert sorted(found.digests()) == sorted(again.digests()) == sorted(map(digest, set(numbers)))


@pytest.mark.usefixtures("_most_recent")
def test_what_others_have_is_left_out_and_they_may_be_asked_again() -> None:
    found = DigestSet(map(digest, range(50)))
    others = Said([digest(n) for n in range(0, 50, 2)]), Said([digest(n) for n in range(0, 99, 3)])

    for _ in range(2):
        absent = [each for portion in found.absent_from(*others) for each in portion]
        expected = {digest(n) for n in range(50) if n % 2 and n % 3}
        assert (len(absent), set(absent)) == (len(expected), expected)
    assert not list(found.absent_from(found))
    assert len(found) == 50


@pytest.mark.usefixtures("_most_recent")
def test_an_empty_set_is_empty_in_every_way() -> None:
    empty = DigestSet()

    assert (len(empty), list(empty.digests()), list(empty.absent_from())) == (0, [], [])
    assert not empty.surely_exceeds(0)


def test_of_few_it_is_known_at_once_whether_they_are_too_many_and_of_many_not_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = DigestSet(map(digest, range(9)))
    assert (few.surely_exceeds(8), few.surely_exceeds(9)) == (True, False)

    monkeypatch.setattr(module, "_MOST_RECENT", 10)
    many = DigestSet(digest(n % 100) for n in range(1_000))

    assert not many.surely_exceeds(100)
    assert many.surely_exceeds(80)
    assert len(many) == 100
