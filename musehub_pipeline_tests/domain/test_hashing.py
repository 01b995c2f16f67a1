"""Contents are verified in batches, in threads; whichever is wrong is found and named."""

from collections.abc import Iterator
from hashlib import sha256

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.hashing import ContentVerifier
from musehub_pipeline_tests.domain.reading import Bytes

LARGE = bytes(range(256)) * 14_000  # more than three chunks of a file
FILE = b"before" + LARGE + b"after"
LARGE_HEX = sha256(LARGE).hexdigest()


@pytest.fixture
def verifier() -> Iterator[ContentVerifier]:
    with ContentVerifier(Bytes(FILE)) as verifier:
        yield verifier


def add(verifier: ContentVerifier, *contents: bytes) -> None:
    for position, content in enumerate(contents):
        verifier.add(position, sha256(content).hexdigest(), content)


def test_nothing_to_verify_is_fine(verifier: ContentVerifier) -> None:
    verifier.finish()


@pytest.mark.parametrize("wrong", [0, 1, 4095, 4096, 9999])
def test_one_wrong_content_among_many_is_named(verifier: ContentVerifier, wrong: int) -> None:
    contents = [b"%d" % number for number in range(10_000)]
    hexes = [sha256(content).hexdigest() for content in contents]
    contents[wrong] = b"wrong"

    def verify() -> None:
        for position, (hex_digest, content) in enumerate(zip(hexes, contents, strict=True)):
            verifier.add(position, hex_digest, content)
        verifier.finish()

    with pytest.raises(Rejection) as caught:
        verify()
    assert str(caught.value) == (
        f"OBJECT_HASH_MISMATCH: objects[{wrong}]: the content hashes to"
        f" sha256:{sha256(b'wrong').hexdigest()}, the object_id is sha256:{hexes[wrong]}"
    )
    assert caught.value.item == f"objects[{wrong}]"


def test_many_right_contents_of_every_size_pass(verifier: ContentVerifier) -> None:
    sizes = [0, 1, 2047, 2048, 1 << 20, 3 << 20] * 5 + [7] * 9000

    add(verifier, *(b"x" * size for size in sizes))

    verifier.finish()


def test_a_large_content_is_read_where_it_lies(verifier: ContentVerifier) -> None:
    verifier.add(0, LARGE_HEX, (6, len(LARGE)))
    verifier.add(1, sha256(b"").hexdigest(), (6, 0))

    verifier.finish()


@pytest.mark.parametrize("place", [(5, len(LARGE)), (6, len(LARGE) - 1), (6, len(LARGE) + 1)])
def test_a_large_content_that_is_another_is_named(
    verifier: ContentVerifier, place: tuple[int, int]
) -> None:
    def verify() -> None:
        verifier.add(3, LARGE_HEX, place)
        verifier.finish()

    with pytest.raises(Rejection, match=r"^OBJECT_HASH_MISMATCH: objects\[3\]: "):
        verify()


def test_leaving_early_ends_the_threads() -> None:
    with ContentVerifier(Bytes(FILE)) as verifier:
        add(verifier, *(b"x" * (1 << 20) for _ in range(20)))

    with pytest.raises(RuntimeError, match="after shutdown"):
        add(verifier, *(b"x" * (1 << 20) for _ in range(20)))
