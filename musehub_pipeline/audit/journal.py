"""How far a deep check has come, and what it has found: a file that survives its process.

Each window appends what was found in it, and then how far it is, one JSON value a line, in a single
write. So a check that was killed goes on behind the last window that was noted whole; what follows
that in the file, as half a line, is cut off. Nothing is rewritten, however much is found.
"""

import fcntl
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from musehub_pipeline.audit.deep import Damage, Wrong
from musehub_pipeline.domain.errors import PipelineError


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """How far a check is, from its beginning, over all processes that worked on it."""

    after: str = ""  # the last id that was read
    objects: int = 0
    size_bytes: int = 0  # that were read
    findings: int = 0
    seconds: float = 0.0


class JournalInUse(PipelineError):
    """Another process writes the same journal."""


class NotAJournal(PipelineError):
    """A file that should be a journal is none."""


class Journal:
    """The file of one check, held by one process; a context manager that lets it go."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made where there is none; nobody else may have it.

        Raises:
            JournalInUse: somebody has.
            OSError: it cannot be read, or written.
        """
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = path.open("ab+", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise JournalInUse(f"a check that notes into {path} is under way") from None
        self.since: datetime | None = None  # rows that were made before are left out
        self.checked = Checked()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, *, since: datetime | None) -> None:
        """Begin a check; what an earlier one had noted is forgotten.

        Raises:
            OSError: the file cannot be written.
        """
        self.since, self.checked = since, Checked()
        self._file.truncate(0)
        self._file.write(_line({"since": since and since.isoformat()}))

    def resume(self) -> bool:
        """Go on with a check that did not end; false where there is none.

        Raises:
            NotAJournal: the file is something else.
            OSError: the file cannot be read, or written.
        """
        checked, since = Checked(), None
        try:
            with self._path.open("rb") as file:
                header = file.readline()
                if not header.endswith(b"\n"):  # killed as it began
                    return False
                if time := json.loads(header)["since"]:
                    since = datetime.fromisoformat(time)
                end = file.tell()
                while (line := file.readline()).endswith(b"\n"):
                    if noted := json.loads(line).get("checked"):
                        checked, end = Checked(**noted), file.tell()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotAJournal(f"{self._path} is no journal of fsck --deep: remove it") from error
        self.since, self.checked = since, checked
        self._file.truncate(end)
        return True

    def note(self, damages: Iterable[Damage], checked: Checked) -> None:
        """Note a window: what was found, and how far the check is now.

        Raises:
            OSError: the file cannot be written.
        """
        lines = [_line({"found": damage}) for damage in damages]
        self._file.write(b"".join([*lines, _line({"checked": asdict(checked)})]))
        self.checked = checked

    def damages(self) -> Iterator[Damage]:
        """Yield all that was found, in order."""
        with self._path.open("rb") as file:
            for line in file:
                if found := json.loads(line).get("found"):
                    object_id, what, *more = found
                    yield Damage(object_id, Wrong(what), *more)

    def remove(self) -> None:
        """End the check."""
        self._path.unlink(missing_ok=True)


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
