"""Files of a directory that is storage: whole or not there, and never overwritten."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musehub_pipeline.objects.directory import create_file


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
