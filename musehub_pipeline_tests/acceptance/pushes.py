"""Many small pushes at once, as a busy hub has them."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from uuid import uuid4

import psycopg

from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

HISTORY_LENGTH = 5


def push_many(hub: Hub, *, repos: int, each: int) -> list[str]:
    """Push a chain of `each` commits to every repo, a job a commit, all rows in one transaction.

    The jobs go round the repos: the first of each, then the second of each. Returns their ids.
    """
    chains = {
        hub.create_repo(f"song-{n}", owner=f"o{n}"): _chain(hub, n, each) for n in range(repos)
    }
    jobs: list[str] = []
    with (
        psycopg.connect(str(hub.settings.database_url)) as connection,
        connection.cursor() as cursor,
    ):
        for number in range(each):
            for repo_id, chain in chains.items():
                mpack_key, head = chain[number]
                jobs.append(f"job-{uuid4()}")
                payload = {"mpack_key": mpack_key, "branch": "main", "head": head}
                cursor.execute(
                    "INSERT INTO musehub_background_jobs"
                    " (job_id, repo_id, job_type, payload, status, created_at, attempt)"
                    " VALUES (%s, %s, 'mpack.index', %s, 'pending', clock_timestamp(), 0)",
                    (jobs[-1], repo_id, json.dumps(payload)),
                )
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
