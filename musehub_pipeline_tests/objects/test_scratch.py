"""Scratch folders: gone with their run, whatever became of it, and never before."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.objects.scratch import ScratchFile, scratch_folder

CHILD = """
import sys
from pathlib import Path
from musehub_pipeline.objects.scratch import scratch_folder

with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "mpack").write_bytes(b"gigabytes")
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "scratch"


@pytest.fixture
def other_run(root: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that uses the same root, and its folder."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def folders(root: Path) -> list[Path]:
    return sorted(root.glob("run-*"))


def test_a_folder_is_made_and_removed_with_all_that_is_in_it(root: Path) -> None:
    with scratch_folder(root) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "mpack").write_bytes(b"bytes")
        assert folders(root) == [folder]

    assert folders(root) == []


def test_a_folder_is_removed_also_where_its_run_fails(root: Path) -> None:
    def run() -> None:
        with scratch_folder(root) as folder:
            (folder / "mpack").write_bytes(b"bytes")
            raise LookupError

    with pytest.raises(LookupError):
        run()

    assert folders(root) == []


def test_two_runs_of_one_process_have_folders_of_their_own(root: Path) -> None:
    with scratch_folder(root) as one, scratch_folder(root) as two:
        assert folders(root) == sorted([one, two])
        (one / "mpack").write_bytes(b"one")
        (two / "mpack").write_bytes(b"two")
        assert (one / "mpack").read_bytes() == b"one"


def test_the_folder_of_a_run_that_goes_on_is_left_alone(
    root: Path, other_run: tuple[subprocess.Popen[str], Path]
) -> None:
    _, theirs = other_run

    with scratch_folder(root) as ours:
        assert folders(root) == sorted([theirs, ours])

    assert (theirs / "mpack").read_bytes() == b"gigabytes"


def test_the_folder_of_a_run_that_was_killed_is_swept_by_the_next(
    root: Path, other_run: tuple[subprocess.Popen[str], Path]
) -> None:
    process, theirs = other_run
    process.kill()
    process.wait()
    assert folders(root) == [theirs]

    with scratch_folder(root) as ours:
        assert folders(root) == [ours]


def test_a_folder_whose_removal_was_cut_short_is_swept_too(root: Path) -> None:
    half_removed = root / "run-killed-while-it-was-removed"
    half_removed.mkdir(parents=True)
    (half_removed / "mpack").write_bytes(b"gigabytes")

    with scratch_folder(root) as ours:
        assert folders(root) == [ours]


def test_what_is_no_runs_folder_is_left_alone(root: Path) -> None:
    (root / "somebody's").mkdir(parents=True)
    (root / "run-notes.txt").write_text("not a folder")

    with scratch_folder(root):
        pass

    assert (root / "somebody's").is_dir()
    assert (root / "run-notes.txt").read_text() == "not a folder"


def test_a_root_that_cannot_be_used_is_transient_and_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()

    for root in (occupied, occupied / "below"):
        with pytest.raises(Transient) as caught, scratch_folder(root):
            pass
        assert caught.value.code.value == "SCRATCH_UNAVAILABLE"
        assert str(root) in caught.value.message


def test_a_file_is_read_anywhere_and_gives_less_only_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "mpack"
    path.write_bytes(bytes(range(100)))
    file = ScratchFile(path, 100)

    pieces = [file.read(90, 5), file.read(0, 3), file.read(98, 10), file.read(100, 1)]

    assert pieces == [bytes(range(90, 95)), b"\0\1\2", b"bc", b""]


@pytest.mark.parametrize("reads", [0, 1])
def test_a_closed_file_is_gone_and_may_be_closed_again(tmp_path: Path, reads: int) -> None:
    path = tmp_path / "mpack"
    path.write_bytes(b"bytes")
    file = ScratchFile(path, 5)
    for _ in range(reads):
        file.read(0, 1)

    file.close()
    file.close()

    assert not path.exists()
    with pytest.raises(Transient, match="No such file or directory"):
        file.read(0, 1)


def test_a_file_that_cannot_be_read_is_trouble_of_scratch(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path / "gone", 100)

    with pytest.raises(Transient) as caught:
        file.read(0, 10)

    assert caught.value.code.value == "SCRATCH_UNAVAILABLE"
    assert caught.value.message == f"{tmp_path / 'gone'}: No such file or directory"
