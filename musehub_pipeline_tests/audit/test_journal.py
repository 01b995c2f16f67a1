"""What a journal has noted survives whatever ends its process, and nothing half does."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from musehub_pipeline.audit.deep import Damage, Wrong
from musehub_pipeline.audit.journal import Checked, Journal, JournalInUse, NotAJournal

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MISSING = Damage("sha256:a", Wrong.MISSING, 3)
FLIPPED = Damage("sha256:b", Wrong.HASH, 4, 4, "sha256:c")
FIRST = Checked(after="sha256:a", objects=1, size_bytes=0, findings=1, seconds=0.5)
SECOND = Checked(after="sha256:b", objects=2, size_bytes=4, findings=2, seconds=1.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal with two windows lies, in a folder that was not there."""
    path = tmp_path / "fsck" / "deep.jsonl"
    with Journal(path) as journal:
        journal.begin(since=SINCE)
        journal.note([MISSING], FIRST)
        journal.note([FLIPPED], SECOND)
    return path


def resumed(path: Path) -> tuple[datetime | None, Checked, list[Damage]]:
    with Journal(path) as journal:
        assert journal.resume()
        return journal.since, journal.checked, list(journal.damages())


def test_it_goes_on_where_it_was(path: Path) -> None:
    assert resumed(path) == (SINCE, SECOND, [MISSING, FLIPPED])
    with Journal(path) as journal:
        journal.resume()
        journal.note([MISSING], replace(SECOND, findings=3))
    assert resumed(path) == (SINCE, replace(SECOND, findings=3), [MISSING, FLIPPED, MISSING])


def test_wherever_it_was_cut_whole_windows_are_left(path: Path) -> None:
    whole = path.read_bytes()
    header, *lines = whole.splitlines(keepends=True)
    ends: dict[int, tuple[Checked, list[Damage]]] = {
        len(header): (Checked(), []),
        len(header) + sum(map(len, lines[:2])): (FIRST, [MISSING]),
        len(whole): (SECOND, [MISSING, FLIPPED]),
    }

    for length in range(len(header), len(whole) + 1):
        path.write_bytes(whole[:length])
        end = max(end for end in ends if end <= length)
        assert resumed(path) == (SINCE, *ends[end])
        assert path.stat().st_size == end


def test_one_that_had_not_begun_is_none(path: Path) -> None:
    whole = path.read_bytes()

    for length in range(whole.index(b"\n") + 1):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert not journal.resume()


def test_a_new_one_forgets_the_old_one_and_its_end_leaves_nothing(path: Path) -> None:
    with Journal(path) as journal:
        journal.begin(since=None)
        assert (journal.since, journal.checked, list(journal.damages())) == (None, Checked(), [])

    assert resumed(path) == (None, Checked(), [])
    with Journal(path) as journal:
        journal.remove()
    assert list(path.parent.iterdir()) == []


def test_two_processes_never_have_the_same(path: Path) -> None:
    with Journal(path), pytest.raises(JournalInUse, match=f"into {path} is under way"):
        Journal(path)

    assert resumed(path) == (SINCE, SECOND, [MISSING, FLIPPED])


@pytest.mark.parametrize("content", ["no json\n", "[]\n", '{"other": 1}\n', '{"since": "x"}\n'])
def test_another_file_is_named_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other"
    path.write_text(content)

    with Journal(path) as journal, pytest.raises(NotAJournal, match=f"{path} is no journal"):
        journal.resume()

    assert path.read_text() == content


def test_a_line_that_says_too_much_is_named(path: Path) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"checked": {"hours": 1}}) + "\n")

    with Journal(path) as journal, pytest.raises(NotAJournal):
        journal.resume()
