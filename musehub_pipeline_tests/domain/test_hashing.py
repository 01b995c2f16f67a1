"""Contents are verified where they lie, in threads; the first that is wrong is found and named."""

from collections.abc import Iterator
from hashlib import sha256

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.hashing import ContentVerifier
from musehub_pipeline.domain.slices import Slice
from musehub_pipeline_tests.domain.reading import Bytes

LARGE = bytes(range(256)) * 14_000  # more than three chunks of a file
NUMBERS = b"".join(b"%08d" % number for number in range(60_000))
FILE = b"before" + LARGE + b"after" + NUMBERS
LARGE_DIGEST = sha256(LARGE).digest()
NUMBERS_AT = FILE.index(NUMBERS)


@pytest.fixture
def verifier() -> Iterator[ContentVerifier]:
    with ContentVerifier(Bytes(FILE)) as verifier:
        yield verifier


def place(number: int, said: int) -> Slice:
    return Slice(bytes.fromhex(number_hex(said)), NUMBERS_AT + number * 8, 8)


def number_hex(number: int) -> str:
    return sha256(b"%08d" % number).hexdigest()


def test_nothing_to_verify_is_fine(verifier: ContentVerifier) -> None:
    verifier.finish()


@pytest.mark.parametrize("wrong", [[0], [1], [19_999], [20_000], [59_999], [7, 8, 30_000]])
def test_the_first_wrong_content_among_many_is_named(
    verifier: ContentVerifier, wrong: list[int]
) -> None:
    def verify() -> None:
        for number in range(60_000):
            said = number + 1 if number in wrong else number
            verifier.add(number, place(number, said))
        verifier.finish()

    with pytest.raises(Rejection) as caught:
        verify()
    first = wrong[0]
    assert str(caught.value) == (
        f"OBJECT_HASH_MISMATCH: objects[{first}]: the content hashes to"
        f" sha256:{number_hex(first)}, the object_id is sha256:{number_hex(first + 1)}"
    )
    assert caught.value.item == f"objects[{first}]"


def test_right_contents_of_every_size_pass(verifier: ContentVerifier) -> None:
    sizes = [0, 1, 2047, 2048, 1 << 20, (1 << 20) + 1, 3 << 20]

    for position, size in enumerate(sizes * 10):
        verifier.add(position, Slice(sha256(LARGE[:size]).digest(), 6, size))

    verifier.finish()


@pytest.mark.parametrize("place", [(5, len(LARGE)), (6, len(LARGE) - 1), (6, len(LARGE) + 1)])
def test_a_large_content_that_is_another_is_named(
    verifier: ContentVerifier, place: tuple[int, int]
) -> None:
    verifier.add(2, Slice(LARGE_DIGEST, 6, len(LARGE)))
    verifier.add(3, Slice(LARGE_DIGEST, *place))

    with pytest.raises(Rejection, match=r"^OBJECT_HASH_MISMATCH: objects\[3\]: "):
        verifier.finish()


def test_leaving_early_ends_the_threads() -> None:
    with ContentVerifier(Bytes(FILE)) as verifier:
        verifier.add(0, Slice(LARGE_DIGEST, 6, len(LARGE)))

    with pytest.raises(RuntimeError, match="after shutdown"):
        verifier.finish()
