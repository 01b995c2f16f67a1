"""Files of a directory that is storage: whole or not there, and never overwritten."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.objects.directory import StoredFile, create_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "objects" / "ab" / "abcd"


@pytest.mark.parametrize("content", [b"", b"tone", bytes(3 << 20)], ids=len)
def test_a_file_appears_with_its_folders_and_nothing_beside_it(path: Path, content: bytes) -> None:
    create_file(path, content)

    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_is_there_stays_as_it_is(path: Path) -> None:
    create_file(path, b"first")

    with pytest.raises(FileExistsError):
        create_file(path, b"second")

    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_of_many_writers_one_creates_it(path: Path) -> None:
    def create(number: int) -> bool:
        try:
            create_file(path, bytes([number]) * 1_000)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(100)))

    assert sum(created) == 1
    assert path.read_bytes() == bytes([created.index(True)]) * 1_000


def test_a_place_that_is_not_there_is_not_made(path: Path) -> None:
    gone = path.parents[2] / "not mounted" / "objects" / "ab" / "abcd"

    with pytest.raises(FileNotFoundError):
        create_file(gone, b"tone")

    assert not path.parents[2].joinpath("not mounted").exists()


def test_a_file_that_is_replaced_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"it was")
    (tmp_path / "new").write_bytes(b"another")
    file = StoredFile(tmp_path / "file")

    (tmp_path / "new").rename(tmp_path / "file")

    assert (file.size, file.read(3, 100), b"".join(map(bytes, file.chunks()))) == (
        6,
        b"was",
        b"it was",
    )
    file.close()
    file.close()


@pytest.mark.parametrize("content", [b"another text", b"it has", b""])
def test_a_file_that_is_written_to_is_read_no_more(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(b"it was")
    os.utime(tmp_path / "file", (0, 0))
    file = StoredFile(tmp_path / "file")
    assert file.read(0, 2) == b"it"

    (tmp_path / "file").write_bytes(content)

    with pytest.raises(Transient, match=r"^STORAGE_UNAVAILABLE: .*file was written to while it"):
        file.read(0, 2)
    file.close()


def test_a_file_is_settled_once_another_write_would_show(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"it was")
    now = time.time()
    settled = {}
    for age in (-3_600, 0, 3_600):
        os.utime(tmp_path / "file", (now - age, now - age))
        file = StoredFile(tmp_path / "file")
        settled[age] = file.is_settled
        file.close()

    assert settled == {-3_600: False, 0: False, 3_600: True}
