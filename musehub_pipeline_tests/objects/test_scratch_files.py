"""Copying into scratch: the bytes and their hash, and what happens where the space or they end."""

import resource
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.objects.directory import StoredFile
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.scratch import CHUNK_BYTES, write_hashing
from musehub_pipeline.parallel import behind


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"".join(bytes([n]) * CHUNK_BYTES for n in range(20)) + b"the rest")
    return path


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * CHUNK_BYTES + 8]
)
def test_a_copy_has_the_bytes_of_the_file_and_their_hash(
    source: Path, tmp_path: Path, size: int
) -> None:
    content = source.read_bytes()[:size]
    source.write_bytes(content)

    file = StoredFile(source)
    digest = write_hashing(file.chunks(), tmp_path / "copy", size=file.size)
    file.close()

    assert file.size == size
    assert digest == sha256(content).hexdigest()
    assert (tmp_path / "copy").read_bytes() == content


def test_a_chunk_keeps_its_bytes_until_it_is_written(source: Path) -> None:
    taken: list[int] = []

    def slowly(chunk: memoryview) -> None:
        time.sleep(0.005)
        taken.append(chunk[0])
        assert len(set(chunk)) == 1 or chunk == b"the rest"

    file = StoredFile(source)
    behind(slowly, map(memoryview, file.chunks()), most=3)
    file.close()

    assert taken == [*range(20), ord("t")]


def test_no_more_chunks_are_fetched_than_may_wait() -> None:
    done: list[int] = []

    def fetched() -> Iterator[int]:
        for number in range(50):
            assert number - len(done) <= 3
            yield number

    behind(done.append, fetched(), most=3)

    assert done == list(range(50))


def test_a_source_that_fails_is_the_error_whatever_is_under_way(tmp_path: Path) -> None:
    def fetched() -> Iterator[bytes]:
        yield bytes(CHUNK_BYTES)
        raise TimeoutError("the storage is gone")

    with pytest.raises(TimeoutError, match="the storage is gone"):
        write_hashing(fetched(), tmp_path / "copy", size=9 * CHUNK_BYTES)


def test_a_full_disk_is_known_before_anything_is_fetched(tmp_path: Path) -> None:
    fetched = iter([b"never taken"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * CHUNK_BYTES, hard))
    try:
        with pytest.raises(Transient) as caught:
            write_hashing(fetched, tmp_path / "copy", size=9 * CHUNK_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert caught.value.code.value == "SCRATCH_UNAVAILABLE"
    assert caught.value.message == f"{tmp_path / 'copy'}: File too large"
    assert next(fetched) == b"never taken"


def test_a_disk_that_fails_under_way_is_the_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * CHUNK_BYTES, hard))
    try:  # the source has more than was said
        with pytest.raises(Transient, match=r"^SCRATCH_UNAVAILABLE: .*File too large$"):
            write_hashing(iter([bytes(CHUNK_BYTES)] * 20), tmp_path / "copy", size=2 * CHUNK_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_transfer_ends_where_its_storage_is_closed(source: Path, tmp_path: Path) -> None:
    digest = sha256(source.read_bytes()).hexdigest()
    (tmp_path / "store").mkdir()
    with ObjectStorage((tmp_path / "store").as_uri()) as storage:
        storage.put_mpack(source, digest)

    with pytest.raises(Transient, match=r"^STORAGE_UNAVAILABLE: .* has been closed$"):
        storage.fetch_mpack(digest, tmp_path / "fetched", limit=1 << 30)

    assert not (tmp_path / "fetched").exists()
