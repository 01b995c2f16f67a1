"""Contents are verified where they lie, in threads; the first that is wrong is found and named."""

import threading
from functools import cache
from hashlib import sha256

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.hashing import verify_contents
from musehub_pipeline.domain.mpack import MpackItem
from musehub_pipeline.domain.places import Place
from musehub_pipeline_tests.domain.reading import Bytes

LARGE = bytes(range(256)) * 14_000  # more than three chunks of a file
NUMBERS = b"".join(b"%08d" % number for number in range(200_000))
FILE = b"before" + LARGE + b"after" + NUMBERS
LARGE_DIGEST = sha256(LARGE).digest()
NUMBERS_AT = FILE.index(NUMBERS)


def verify(*places: Place) -> None:
    verify_contents(Bytes(FILE), [MpackItem(n, place, b"") for n, place in enumerate(places)])


def place(number: int, said: int) -> Place:
    return Place(bytes.fromhex(number_hex(said)), NUMBERS_AT + number * 8, 8)


@cache
def right_places() -> list[Place]:
    return [place(number, number) for number in range(200_000)]


def number_hex(number: int) -> str:
    return sha256(b"%08d" % number).hexdigest()


def test_nothing_to_verify_is_fine() -> None:
    verify()


@pytest.mark.slow
@pytest.mark.parametrize("count", [20_000, 200_000], ids=["one thread", "two threads"])
@pytest.mark.parametrize("wrong", [[0], [1], [10_000], [19_999], [7, 8, 10_000]])
def test_the_first_wrong_content_among_many_is_named(wrong: list[int], count: int) -> None:
    places = right_places()[:count]
    for number in wrong:
        places[number] = place(number, number + 1)

    with pytest.raises(Rejection) as caught:
        verify(*places)

    first = wrong[0]
    assert str(caught.value) == (
        f"OBJECT_HASH_MISMATCH: objects[{first}]: the content hashes to"
        f" sha256:{number_hex(first)}, the object_id is sha256:{number_hex(first + 1)}"
    )
    assert caught.value.item == f"objects[{first}]"


def test_right_contents_of_every_size_pass() -> None:
    sizes = [0, 1, 2047, 2048, 1 << 20, (1 << 20) + 1, 3 << 20]

    verify(*(Place(sha256(LARGE[:size]).digest(), 6, size) for size in sizes * 10))


@pytest.mark.parametrize("wrong", [(5, len(LARGE)), (6, len(LARGE) - 1), (6, len(LARGE) + 1)])
def test_a_large_content_that_is_another_is_named(wrong: tuple[int, int]) -> None:
    good = Place(LARGE_DIGEST, 6, len(LARGE))

    with pytest.raises(Rejection, match=r"^OBJECT_HASH_MISMATCH: objects\[1\]: "):
        verify(good, Place(LARGE_DIGEST, *wrong))


def test_no_thread_is_left_where_something_is_wrong() -> None:
    before = threading.active_count()

    with pytest.raises(Rejection):
        verify(*[Place(LARGE_DIGEST, 5, len(LARGE))] * 9)

    assert threading.active_count() == before
