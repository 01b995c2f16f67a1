"""Names that were taken in before there were rules for them: branches, and paths of manifests.

It goes over the tables in windows, each in a transaction of its own, so that neither its memory nor
PostgreSQL's dead rows grow with them.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from musehub_pipeline.domain.names import Manifests, branch_fault
from musehub_pipeline.postgres.database import Database

_WINDOW_ROWS = 1_000
_WINDOW_BYTES = 1 << 20  # of manifests as they are stored, perhaps compressed

_BAD_REF_NAME = "badRefName"  # for branches, git's fsck has this one


@dataclass(frozen=True, kw_only=True, slots=True)
class BadName:
    """A name by which a row breaks a rule."""

    rule: str
    table: str
    key: dict[str, str]  # of the row
    name: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return asdict(self)


class NameCheck:
    """Goes over the names of all repos or of one; `checked` says how many rows there are."""

    def __init__(self, database: Database, *, repo_id: str | None) -> None:
        self._database = database
        self._only = {"only": repo_id}
        with database.transaction() as transaction:
            self.checked: dict[str, int] = transaction.one("names_counts", self._only)

    def find(self, report: Callable[[int, int], None]) -> Iterator[BadName]:
        """Yield what is found; tell how many rows of how many have been looked at."""
        total = sum(self.checked.values())
        looked_at = 0
        manifests = Manifests()
        for window in self._windows("names_of_branches"):
            for repo_id, name in window:
                if fault := branch_fault(name):
                    yield BadName(
                        rule=_BAD_REF_NAME,
                        table="musehub_branches",
                        key={"repo_id": repo_id, "name": name},
                        name=name,
                        message=fault,
                    )
            looked_at += len(window)
            report(looked_at, total)
        for window in self._windows("names_in_manifests"):
            for repo_id, snapshot_id, paths in window:
                for path, fault in manifests.faults(paths):
                    yield BadName(
                        rule=str(fault),
                        table="musehub_snapshots",
                        key={"repo_id": repo_id, "snapshot_id": snapshot_id},
                        name=path,
                        message=fault.meaning,
                    )
            looked_at += len(window)
            report(looked_at, total)

    def _windows(self, statement: str) -> Iterator[list[tuple[Any, ...]]]:
        window: list[tuple[Any, ...]] = [("", "")]
        while True:
            repo_id, name, *_ = window[-1]
            limits = {"most": _WINDOW_ROWS, "most_bytes": _WINDOW_BYTES}
            with self._database.transaction() as transaction:
                window = transaction.tuples(
                    statement, self._only | limits | {"repo_id": repo_id, "name": name}
                )
            if not window:
                return
            yield window
