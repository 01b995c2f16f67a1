"""An index that pushes of all kinds have made, what breaks it, and fsck as a test calls it."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from musehub_pipeline.audit.fsck import Breach, Fsck
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

NEW = b"a new file"
NEW_ID = f"sha256:{sha256(NEW).hexdigest()}"
NOWHERE = f"sha256:{'7' * 64}"
NOT_MSGPACK = b"\xc1 is never msgpack"

JOBS, COMMITS, SNAPSHOTS = "musehub_background_jobs", "musehub_commits", "musehub_snapshots"
OBJECTS, REFS = "musehub_objects", "musehub_object_refs"

Found = list[tuple[str, str, dict[str, str], str]]


@dataclass(frozen=True)
class World:
    """A repo with a full, a thin, a repeated and a forced push, and a fork of how it began."""

    hub: Hub
    song: str
    fork: str
    full: str  # the first job that pushed the full mpack
    thin: str  # the job that pushed the thin mpack
    first: str  # the commit without a parent
    last: str  # the head of the full push
    tip: str  # the only commit of the thin push; its parent is `last`
    tip_snapshot: str
    first_snapshot: str

    def sql(self, statement: str) -> None:
        """Run a statement that breaks something, with everything above as parameters."""
        names = ("song", "fork", "full", "thin", "first", "last", "tip")
        given = {name: getattr(self, name) for name in (*names, "tip_snapshot", "first_snapshot")}
        self.hub.sql(statement, given | {"new": NEW_ID, "nowhere": NOWHERE})

    def key_of_mpack(self, job_id: str) -> str:
        return f"mpacks/{self.hub.job(job_id)['payload']['mpack_key'][-64:]}"


def push_world(hub: Hub) -> World:
    """Push and index all of it."""
    history = small_history()
    first, *_, last = history.commits
    song, fork = hub.create_repo("song"), hub.create_repo("fork", owner="bob")
    before = history.copy()
    files = {"src/file0.txt": bytes([100]) * 128, "new": NEW}
    tip = history.commit(files, parents=[last], committed_at="2026-03-09T12:00:00+00:00")
    full = hub.push(song, before.mpack(), head=last)
    thin = hub.push(song, history.mpack(without=before), head=tip)
    hub.push(song, before.mpack())
    hub.push(song, before.mpack(), head=first, force=True)
    hub.push(fork, before.mpack(), head=last)
    index_all(hub)
    snapshots = [commit["snapshot_id"] for commit in history.commits.values()]
    return World(
        hub=hub,
        song=song,
        fork=fork,
        full=min(row["job_id"] for row in pushes_of(hub, song, full)),
        thin=thin,
        first=first,
        last=last,
        tip=tip,
        tip_snapshot=snapshots[-1],
        first_snapshot=snapshots[0],
    )


def pushes_of(hub: Hub, repo_id: str, job_id: str) -> list[dict[str, Any]]:
    """Return the jobs of a repo that pushed the same mpack; breaches name the first by its id."""
    return hub.sql(
        "SELECT job_id FROM musehub_background_jobs WHERE repo_id = %(r)s"
        " AND payload ->> 'mpack_key' = %(k)s",
        {"r": repo_id, "k": hub.job(job_id)["payload"]["mpack_key"]},
    )


def check(
    hub: Hub,
    *,
    repo_id: str | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[list[Breach], dict[str, int]]:
    """Return all breaches, and what has been looked at; `meanwhile` happens before each check."""
    scratch = Path(hub.settings.home) / "fsck"
    scratch.mkdir(parents=True, exist_ok=True)
    breaches: list[Breach] = []
    with (
        Database(str(hub.settings.database_url)) as database,
        ObjectStorage(str(hub.settings.storage_url), s3=hub.settings.s3) as objects,
    ):
        fsck = Fsck(database, objects, repo_id=repo_id, scratch=scratch)
        for each in fsck.checks():
            meanwhile()
            breaches += each.find(report)
    assert list(scratch.iterdir()) == []
    return breaches, fsck.checked


def found(hub: Hub, *, repo_id: str | None = None) -> Found:
    breaches, _ = check(hub, repo_id=repo_id)
    return [(str(b.invariant), b.table, dict(b.key), b.message) for b in breaches]


def supplied(table: str, job_id: str, rows: int = 0, **key: str) -> Any:
    message = f"job {job_id} supplied it, and it has {rows} rows"
    return ("mpack_indexed", table, key, message)
