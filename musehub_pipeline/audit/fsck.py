"""The checks of `fsck`: each yields the rows at which an invariant does not hold."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from musehub_pipeline.audit.fsck_tables import FsckTables, open_tables, windows
from musehub_pipeline.audit.mpacks import fetched, read_again
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.database import Database

# Pushes with these faults were never accepted, so they supplied nothing: the payload names no
# mpack, or the reader rejects bytes that hash as they should.
_NEVER_ACCEPTED = (Fault.BAD_PAYLOAD, Fault.MPACK_MALFORMED, Fault.BAD_ID)

Progress = Callable[[int, int], None]
"""Takes how much is done, and how much there is."""


class Invariant(StrEnum):
    """What `fsck` checks; the values are what it prints."""

    JOB_ENDS = "job_ends"  # a job is done, has failed with a reason, or is being worked on
    MPACK_INDEXED = "mpack_indexed"  # all of a done job's mpack is in the index, once
    COMMIT_COMPLETE = "commit_complete"  # its repo holds a commit's snapshot and parents
    MANIFEST_COMPLETE = "manifest_complete"  # what it names has a row, and a ref of its repo
    OBJECT_STORED = "object_stored"  # an object row has bytes of its size
    HEAD_EXISTS = "head_exists"  # a branch stands at a commit of its repo
    REF_SUPPLIED = "ref_supplied"  # a repo holds what was pushed to it, and nothing else


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """One row at which an invariant does not hold."""

    invariant: Invariant
    table: str
    key: Mapping[str, str]  # of the row, which may be the one that is missing
    message: str
    job_id: str | None = None  # a done job that supplied what is missing

    def __hash__(self) -> int:
        return hash((self.invariant, self.table, tuple(self.key.items()), self.message))

    def __str__(self) -> str:
        key = " ".join(f"{column}={value}" for column, value in self.key.items())
        return f"{self.invariant}: {self.table} {key}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "invariant": str(self.invariant),
            "table": self.table,
            "key": dict(self.key),
            "message": self.message,
        }


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check, and what it counts while it goes on."""

    name: str
    unit: str
    find: Callable[[Progress], Iterator[Breach]]


class _Question(NamedTuple):
    """A statement whose rows are breaches: the key of a row of `table`, a message, maybe a job."""

    statement: str
    invariant: Invariant
    table: str
    key: tuple[str, ...]


_JOBS = _Question("fsck_jobs", Invariant.JOB_ENDS, "musehub_background_jobs", ("job_id",))
_HEADS = _Question("fsck_heads", Invariant.HEAD_EXISTS, "musehub_branches", ("repo_id", "name"))
_COMMITS = tuple(
    _Question(name, Invariant.COMMIT_COMPLETE, "musehub_commits", ("repo_id", "commit_id"))
    for name in ("fsck_commits_without_snapshot", "fsck_commits_without_parent")
)
_MANIFESTS = _Question(
    "fsck_manifests",
    Invariant.MANIFEST_COMPLETE,
    "musehub_snapshots",
    ("repo_id", "snapshot_id"),
)
_OBJECTS = _Question("fsck_objects", Invariant.OBJECT_STORED, "musehub_objects", ("object_id",))
_SUPPLIED = tuple(
    _Question(f"fsck_supplied_{name}", Invariant.MPACK_INDEXED, table, key)
    for name, table, key in (
        ("objects", "musehub_objects", ("object_id",)),
        ("refs", "musehub_object_refs", ("repo_id", "object_id")),
        ("snapshots", "musehub_snapshots", ("repo_id", "snapshot_id")),
        ("commits", "musehub_commits", ("repo_id", "commit_id")),
    )
)
_REFS = _Question(
    "fsck_refs", Invariant.REF_SUPPLIED, "musehub_object_refs", ("repo_id", "object_id")
)


class Fsck:
    """Goes over the index, of all repos or of one; `checked` says how much of what it looked at."""

    def __init__(
        self, database: Database, objects: ObjectStorage, *, repo_id: str | None, scratch: Path
    ) -> None:
        self._database = database
        self._objects = objects
        self._repo_id = repo_id
        self._scratch = scratch
        self._mpacks = 0  # that have been read whole
        self._looked_at = 0  # also those that cannot be read
        self.checked: dict[str, int] = {}

    def checks(self) -> Iterator[Check]:
        """Yield all checks, each to be made before the next one is asked for.

        Rows are compared with each other and with storage at one moment; with mpacks, which takes
        hours to read, some repos at a time.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        with open_tables(self._database, repo_id=self._repo_id) as tables:
            self.checked = tables.counts()
            for name, counted, questions in (
                ("jobs", "jobs", (_JOBS,)),
                ("heads", "branches", (_HEADS,)),
                ("commits", "commits", _COMMITS),
            ):
                find = partial(self._rows, tables, questions, counted)
                yield Check(name=name, unit=counted, find=find)
            manifests = partial(self._manifests, tables)
            yield Check(name="manifests", unit="snapshots", find=manifests)
            yield Check(name="objects", unit="stored", find=partial(self._stored, tables))
        yield Check(name="mpacks", unit="mpacks", find=self._pushed)

    def _rows(
        self,
        tables: FsckTables,
        questions: tuple[_Question, ...],
        counted: str,
        report: Progress,
    ) -> Iterator[Breach]:
        total = self.checked[counted]
        report(0, total)
        for question in questions:
            yield from _ask(tables, question)
        report(total, total)

    def _manifests(self, tables: FsckTables, report: Progress) -> Iterator[Breach]:
        for looked_at in tables.note_named():
            report(looked_at, self.checked["snapshots"])
        yield from _ask(tables, _MANIFESTS)

    def _stored(self, tables: FsckTables, report: Progress) -> Iterator[Breach]:
        noted = 0
        for noted in tables.note_stored(self._objects.stored_objects()):
            report(noted, max(noted, self.checked["objects"]))
        self.checked["stored_objects"] = noted
        yield from _ask(tables, _OBJECTS)

    def _pushed(self, report: Progress) -> Iterator[Breach]:
        """Compare rows with what was pushed: all of it is there, and nothing else."""
        self.checked |= {"mpacks": 0, "object_refs_unjudged": 0}
        for repo_ids in windows(self._database, repo_id=self._repo_id):
            with open_tables(self._database, repo_ids=repo_ids) as tables:
                yield from self._indexed(tables, report)
                yield from self._refs(tables, report)

    def _indexed(self, tables: FsckTables, report: Progress) -> Iterator[Breach]:
        before = self._mpacks
        for job_ids, rejection in self._read_mpacks(tables, report, done=True):
            for job_id in job_ids:
                yield Breach(
                    invariant=Invariant.MPACK_INDEXED,
                    table="musehub_background_jobs",
                    key={"job_id": job_id},
                    message=f"its mpack cannot be read: {rejection}",
                )
        self.checked["mpacks"] += self._mpacks - before
        tables.analyze()
        for question in _SUPPLIED:
            yield from _ask(tables, question)

    def _refs(self, tables: FsckTables, report: Progress) -> Iterator[Breach]:
        """Find refs that the repo was never supplied.

        Whatever became of a job, it may have got as far as its refs: it failed late, was released
        or is under way. So each of the repo's jobs accounts for what is in its mpack; those that
        are not done are only read where something is left to account for.
        """
        if tables.note_unsupplied():
            for _ in self._read_mpacks(tables, report, done=False):
                pass
            tables.analyze()
            tables.forget_supplied()
        self.checked["object_refs_unjudged"] += tables.count_unjudged()
        yield from _ask(tables, _REFS)

    def _read_mpacks(
        self, tables: FsckTables, report: Progress, *, done: bool
    ) -> Iterator[tuple[list[str], Rejection]]:
        """Note what is in the mpacks of a window; yield the jobs of those that cannot be read."""
        before = self._looked_at
        total = before + tables.count_mpacks(done=done)
        report(before, total)
        rows = tables.mpacks(done=done)
        for hex_digest, group in groupby(rows, key=lambda row: row[0]):
            jobs = {repo_id: job_ids for _, repo_id, job_ids in group}
            try:
                self._read_mpack(tables, hex_digest)
            except Rejection as rejection:
                if done or rejection.fault not in _NEVER_ACCEPTED:
                    tables.note_unreadable(jobs)
                yield [job_id for job_ids in jobs.values() for job_id in job_ids], rejection
            else:
                pushes = [(repo_id, job_ids[0]) for repo_id, job_ids in jobs.items()]
                tables.note_pushes(self._mpacks, pushes, done=done)
            self._looked_at += 1
            report(self._looked_at, total)

    def _read_mpack(self, tables: FsckTables, hex_digest: str | None) -> None:
        with fetched(hex_digest, self._objects, scratch=self._scratch) as file:
            self._mpacks += 1
            for kind, items in read_again(file):
                digests = [item.place.digest for item in items]
                tables.note_items(self._mpacks, kind, digests)


def _ask(tables: FsckTables, question: _Question) -> Iterator[Breach]:
    columns = len(question.key)
    for row in tables.ask(question.statement):
        message, *job_id = row[columns:]
        yield Breach(
            invariant=question.invariant,
            table=question.table,
            key=dict(zip(question.key, row[:columns], strict=True)),
            message=message,
            job_id=job_id[0] if job_id else None,
        )
