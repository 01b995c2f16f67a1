"""Pushes at once: many small ones, as a busy hub has them, and some that are refused."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg

from musehub_pipeline.client.refused import RefusedPush, push_refused
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.queue.enqueue import Pushes
from musehub_pipeline.queue.pauses import Pauses
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

HISTORY_LENGTH = 5


def push_many(hub: Hub, *, repos: int, each: int) -> list[str]:
    """Push a chain of `each` commits to every repo, a job a commit, all rows in one transaction.

    The jobs go round the repos: the first of each, then the second of each. Returns their ids.
    """
    with psycopg.connect(str(hub.settings.database_url)) as connection:
        return [insert(connection, push) for push in uploaded(hub, repos=repos, each=each)]


class Uploaded(NamedTuple):
    """An mpack that lies in storage, for which a row is still to be inserted."""

    repo_id: str
    mpack_key: str
    head: str


def uploaded(hub: Hub, *, repos: int, each: int) -> list[Uploaded]:
    """Make repos, upload a chain of `each` commits for every one; in the order of their pushes."""
    chains = {
        hub.create_repo(f"song-{n}", owner=f"o{n}"): _chain(hub, n, each) for n in range(repos)
    }
    return [
        Uploaded(repo_id, *chain[number])
        for number in range(each)
        for repo_id, chain in chains.items()
    ]


def insert(connection: psycopg.Connection[Any], push: Uploaded) -> str:
    """Insert the row of a push, and return its id."""
    job_id = f"job-{uuid4()}"
    payload = {"mpack_key": push.mpack_key, "branch": "main", "head": push.head}
    connection.execute(
        "INSERT INTO musehub_background_jobs"
        " (job_id, repo_id, job_type, payload, status, created_at, attempt)"
        " VALUES (%s, %s, 'mpack.index', %s, 'pending', clock_timestamp(), 0)",
        (job_id, push.repo_id, json.dumps(payload)),
    )
    return job_id


def push_what_is_refused(hub: Hub, folder: Path) -> dict[str, RefusedPush]:
    """Push what `demo --with-failures` does, for one run to take; return each by its job."""
    with open_database(hub.settings) as database, open_objects(hub.settings) as objects:
        pauses = Pauses(database)
        pauses.begin(None)
        jobs = push_refused(
            folder,
            Repos(database).ensure("demo/refused"),
            pusher_id="demo",
            objects=objects,
            pushes=Pushes(database),
        )
        pauses.end(None)
    return jobs


def make_past(hub: Hub, days: Sequence[date]) -> None:
    """Have the jobs been pushed in their order on these days, and done by an older version."""
    hub.sql(
        "WITH numbered AS ("
        "   SELECT job_id, ntile(cardinality(%(days)s)) OVER past AS day,"
        "       row_number() OVER past AS number"
        "   FROM musehub_background_jobs WINDOW past AS (ORDER BY created_at)"
        " )"
        " UPDATE musehub_background_jobs AS job SET index_version = 0,"
        "   created_at = (%(days)s)[day] + number * interval '10 ms'"
        " FROM numbered WHERE job.job_id = numbered.job_id",
        {"days": [datetime.combine(day, time(), UTC) for day in days]},
    )


def _chain(hub: Hub, repo: int, length: int) -> list[tuple[str, str]]:
    """Upload thin mpacks of one commit each; return for each its key and its commit."""
    history = History()
    parents: list[str] = []
    chain: list[tuple[str, str]] = []
    for number in range(length):
        before = history.copy()
        head = history.commit(
            {"tune": b"%d of %d" % (number, repo)}, parents=parents, message=str(number)
        )
        chain.append((hub.upload(history.mpack(without=before)), head))
        parents = [head]
    return chain
