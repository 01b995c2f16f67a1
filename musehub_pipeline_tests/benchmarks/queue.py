"""The queue when it is long: a tick of the sensor, a claim, and how PostgreSQL goes about them."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import LiteralString

import dagster as dg
import psycopg

from musehub_pipeline.domain.run_requests import MOST_COUNTED
from musehub_pipeline.orchestration.instance import code_locations
from musehub_pipeline.orchestration.sensor import watch
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline.postgres.statements import statement
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, amount, interleave, seconds

_DONE = 1_000_000
_PENDING = 100_000
_REPOS = 2_000
_TICK_MS = 100
_CLAIM_MS = 20
_RUN_ID = "bench"
_PARTIAL = re.compile("musehub_background_jobs_(?!pkey)")  # all of them are
_ASKED = (("rescue_expired",), ("backlog",), ("due",), ("choose_due", "lease"))  # a claim is two

# Rows as a hub and the pipeline leave them: the done ones first, then those that wait.
_FILL: LiteralString = """
    INSERT INTO musehub_background_jobs (
        job_id, repo_id, job_type, payload, status, created_at, attempt, run_id, started_at,
        finished_at, result, index_version, attempts
    )
    SELECT 'job-' || n, 'repo-' || n %% %(repos)s, 'mpack.index', push.payload, 'done',
        push.created_at, 1, push.run_id, push.created_at, push.created_at,
        push.payload || jsonb_build_object('elapsed_ms', n %% 100, 'run_id', push.run_id), 1,
        jsonb_build_array(jsonb_build_object(
            'attempt', 1, 'run_id', push.run_id, 'started_at', push.created_at,
            'ended_at', push.created_at, 'code', NULL, 'message', NULL
        ))
    FROM generate_series(1, %(done)s) AS n, LATERAL (
        SELECT now() - interval '2 days' + n * interval '0.1 s' AS created_at,
            'run-' || n / 50 AS run_id,
            jsonb_build_object(
                'mpack_key', 'sha256:' || encode(sha256(n::text::bytea), 'hex'),
                'branch', 'main', 'head', encode(sha256(n::text::bytea), 'hex')
            ) AS payload
    ) AS push;
    INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, created_at)
    SELECT 'job-' || n, 'repo-' || n %% %(repos)s, 'mpack.index',
        jsonb_build_object(
            'mpack_key', 'sha256:' || encode(sha256(n::text::bytea), 'hex'),
            'branch', 'main', 'head', encode(sha256(n::text::bytea), 'hex')
        ),
        now() - interval '2 days' + n * interval '0.1 s'
    FROM generate_series(%(done)s + 1, %(done)s + %(pending)s) AS n
"""
_ONE_REPO: LiteralString = """
    UPDATE musehub_background_jobs SET repo_id = 'repo-0' WHERE status = 'pending'
"""
_SETTLE: LiteralString = "VACUUM ANALYZE musehub_background_jobs"  # as autovacuum would


def queue(bench: Bench) -> Iterator[Figure]:
    """Compare with an empty queue. One repo's backlog is not to be dearer than that of many."""
    done, pending = bench.some(_DONE), bench.some(_PENDING)
    rows = {"done": done, "pending": pending, "repos": bench.some(_REPOS)}
    with (
        bench.dagster() as instance,
        bench.database() as long_url,
        bench.database() as empty_url,
        open_services(bench.settings(long_url)) as services,
        open_services(bench.settings(empty_url)) as empty,
        psycopg.connect(long_url, autocommit=True) as connection,
        psycopg.ClientCursor(connection) as cursor,
    ):
        what = f"{done:,} jobs done, {pending:,} pending"
        cursor.execute(_FILL, rows)
        cursor.execute(_SETTLE)
        checkpoint(long_url)
        of_many = f"{what} in {rows['repos']:,} repos, against an empty queue"
        yield from _figures(bench, instance, services, empty, "queue", of_many)
        yield _plans(cursor, services.settings.batch_jobs, "queue_plans", of_many)
        cursor.execute(_ONE_REPO)
        cursor.execute(_SETTLE)
        checkpoint(long_url)
        of_one = f"{what} in one repo, against an empty queue"
        yield from _figures(bench, instance, services, empty, "queue_one_repo", of_one)
        yield _plans(cursor, services.settings.batch_jobs, "queue_one_repo_plans", of_one)
        services.queue.claim(run_id=_RUN_ID, limit=1)
        held = f"{what} in one repo, which a run is at work on, so that the tick goes over all"
        pairs = interleave(_tick(services, instance), _tick(empty, instance), runs=bench.runs)
        yield amount("queue_held_repo_tick", held, _in_ms(pairs), unit="ms", limit=None)


def _figures(
    bench: Bench,
    instance: dg.DagsterInstance,
    services: Services,
    empty: Services,
    name: str,
    what: str,
) -> Iterator[Figure]:
    pairs = interleave(_tick(services, instance), _tick(empty, instance), runs=bench.runs)
    yield amount(f"{name}_tick", what, _in_ms(pairs), unit="ms", limit=_TICK_MS)
    jobs = services.settings.batch_jobs
    pairs = interleave(lambda: _claim(services, jobs), lambda: _claim(empty, 0), runs=bench.runs)
    yield amount(f"{name}_claim", f"{jobs} jobs; {what}", _in_ms(pairs), unit="ms", limit=_CLAIM_MS)


def _tick(services: Services, instance: dg.DagsterInstance) -> Callable[[], float]:
    """Return what times one tick of the sensor, from LISTEN to what is missing, without waiting."""
    return lambda: seconds(
        lambda: watch(
            services,
            instance,
            job_name="index_mpacks",
            locations=code_locations(None),
            wait_seconds=0,
        )
    )


def _claim(services: Services, jobs: int) -> float:
    """Return how long a claim takes, with the look for dead runs; its leases are given back."""
    claimed: list[int] = []

    def claim() -> None:
        services.queue.rescue()
        found = services.queue.claim(run_id=_RUN_ID, limit=services.settings.batch_jobs)
        claimed.append(len(found))

    elapsed = seconds(claim)
    assert claimed == [jobs]
    services.runs.end(_RUN_ID)
    return elapsed


def _in_ms(pairs: list[Pair[float]]) -> list[Pair[float]]:
    return [Pair(pair.measured * 1e3, pair.bare * 1e3) for pair in pairs]


def _plans(cursor: psycopg.ClientCursor[tuple[str]], jobs: int, name: str, what: str) -> Figure:
    """Count the plans that use none of the partial indexes; the note is all of them."""
    parameters = {
        "run_id": _RUN_ID,
        "job_ids": ["job-1"],
        "lease": timedelta(minutes=1),
        "limit": jobs,
        "most": MOST_COUNTED,
        "max_attempts": 1,
        "max_kills": 1,
    }
    plans: dict[str, str] = {}
    for asked in _ASKED:
        lines = [
            line
            for name in asked
            for (line,) in cursor.execute("EXPLAIN " + statement(name), parameters).fetchall()
        ]
        plans[", ".join(asked)] = "\n".join(lines)
    whole = sum(
        "Seq Scan on musehub_background_jobs" in plan or not _PARTIAL.search(plan)
        for plan in plans.values()
    )
    return amount(
        name,
        f"plans without a partial index, or that read the whole table; {what}",
        [Pair(whole, 0)],
        unit="plans",
        limit=0,
        note="\n".join(f"\n{asked}:\n{plan}" for asked, plan in plans.items()),
    )
