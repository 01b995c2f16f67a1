"""How far a deep check has come, and what it has found: a file that survives its process.

Each window appends what was found in it, and then how far it is, one JSON value a line, in a single
write. So a check that was killed goes on behind the last window that was noted whole; what follows
that in the file, as half a line, is cut off. Nothing is rewritten, however much is found.
"""

import json
import os
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


class NotAJournal(PipelineError):
    """A file that should be a journal is none."""


class Journal:
    """The file of one check."""

    def __init__(self, path: Path, since: datetime | None, checked: Checked) -> None:
        self._path = path
        self.since = since  # rows that were made before are left out
        self.checked = checked

    @classmethod
    def begin(cls, path: Path, *, since: datetime | None) -> Self:
        """Begin a check; what an earlier one had noted is forgotten.

        Raises:
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_line({"since": since and since.isoformat()}))
        return cls(path, since, Checked())

    @classmethod
    def resume(cls, path: Path) -> Self | None:
        """Go on with a check that did not end; None where there is none.

        Raises:
            NotAJournal: the file is something else.
            OSError: the file cannot be read, or written.
        """
        if not path.exists():
            return None
        checked, end, since = Checked(), 0, None
        try:
            with path.open("rb") as file:
                header = file.readline()
                if not header.endswith(b"\n"):  # killed as it began
                    return None
                if time := json.loads(header)["since"]:
                    since = datetime.fromisoformat(time)
                end = file.tell()
                while (line := file.readline()).endswith(b"\n"):
                    if noted := json.loads(line).get("checked"):
                        checked, end = Checked(**noted), file.tell()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotAJournal(f"{path} is no journal of fsck --deep: remove it") from error
        os.truncate(path, end)
        return cls(path, since, checked)

    def note(self, damages: Iterable[Damage], checked: Checked) -> None:
        """Note a window: what was found, and how far the check is now.

        Raises:
            OSError: the file cannot be written.
        """
        lines = [_line({"found": damage}) for damage in damages]
        with self._path.open("ab", buffering=0) as file:
            file.write(b"".join([*lines, _line({"checked": asdict(checked)})]))
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
