"""What a journal has noted survives whatever ends its process, and nothing half does."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from musehub_pipeline.audit.deep import Damage, Wrong
from musehub_pipeline.audit.journal import Checked, Journal, NotAJournal

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MISSING = Damage("sha256:a", Wrong.MISSING, 3)
FLIPPED = Damage("sha256:b", Wrong.HASH, 4, 4, "sha256:c")
FIRST = Checked(after="sha256:a", objects=1, size_bytes=0, findings=1, seconds=0.5)
SECOND = Checked(after="sha256:b", objects=2, size_bytes=4, findings=2, seconds=1.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal with two windows lies, in a folder that was not there."""
    path = tmp_path / "fsck" / "deep.jsonl"
    journal = Journal.begin(path, since=SINCE)
    journal.note([MISSING], FIRST)
    journal.note([FLIPPED], SECOND)
    return path


def resumed(path: Path) -> Journal:
    journal = Journal.resume(path)
    assert journal is not None
    return journal


def test_it_goes_on_where_it_was(path: Path) -> None:
    journal = resumed(path)

    assert (journal.since, journal.checked) == (SINCE, SECOND)
    assert list(journal.damages()) == [MISSING, FLIPPED]


def test_wherever_it_was_cut_whole_windows_are_left(path: Path) -> None:
    whole = path.read_bytes()
    header, *lines = whole.splitlines(keepends=True)
    ends = {len(header): (Checked(), [])}
    ends[len(header) + sum(map(len, lines[:2]))] = (FIRST, [MISSING])
    ends[len(whole)] = (SECOND, [MISSING, FLIPPED])

    for length in range(len(header), len(whole) + 1):
        path.write_bytes(whole[:length])
        journal = resumed(path)
        expected = ends[max(end for end in ends if end <= length)]
        assert (journal.checked, list(journal.damages())) == expected
        assert path.stat().st_size == max(end for end in ends if end <= length)


def test_one_that_had_not_begun_is_none(path: Path) -> None:
    whole = path.read_bytes()

    for length in range(whole.index(b"\n") + 1):
        path.write_bytes(whole[:length])
        assert Journal.resume(path) is None
    path.unlink()
    assert Journal.resume(path) is None


def test_a_new_one_forgets_the_old_one_and_its_end_leaves_nothing(path: Path) -> None:
    journal = Journal.begin(path, since=None)

    assert (journal.since, journal.checked, list(journal.damages())) == (None, Checked(), [])
    assert resumed(path).since is None
    journal.remove()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", ["no json\n", "[]\n", '{"other": 1}\n', '{"since": "x"}\n'])
def test_another_file_is_named_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other"
    path.write_text(content)

    with pytest.raises(NotAJournal, match=f"{path} is no journal"):
        Journal.resume(path)

    assert path.read_text() == content


def test_a_line_that_says_too_much_is_named(path: Path) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"checked": {"hours": 1}}) + "\n")

    with pytest.raises(NotAJournal):
        Journal.resume(path)
