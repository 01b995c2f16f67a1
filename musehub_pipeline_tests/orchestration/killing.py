"""Runs of a backfill that are killed at a job, and a database that interferes with one."""

import os
import subprocess
import sys

from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import DAY, environment
from musehub_pipeline_tests.waiting import wait_for

_RUN = f"""
from musehub_pipeline.definitions import build_defs
build_defs().get_job_def("{BACKFILL_JOB}").execute_in_process(partition_key="{DAY}")
"""
_ASLEEP = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
)


def when(hub: Hub, job_id: str, condition: str, *, do: str) -> None:
    """Have the database do something where a job's row is changed to what meets a condition."""
    hub.sql(
        "CREATE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN {do}; RETURN NEW; END $$"
    )
    hub.sql(
        "CREATE TRIGGER interfere BEFORE UPDATE ON musehub_background_jobs FOR EACH ROW"
        f" WHEN (NEW.job_id = '{job_id}' AND {condition}) EXECUTE FUNCTION interfere()"
    )


def interfere_no_more(hub: Hub) -> None:
    hub.sql("DROP FUNCTION interfere CASCADE")


def asleep(hub: Hub) -> int:
    """Return how many runs wait for the database, which sleeps."""
    return len(hub.sql(_ASLEEP))


def end_sleep(hub: Hub) -> None:
    """End what a killed run had asked for: the database notices its death only after a lease."""
    hub.sql(f"SELECT pg_terminate_backend(pid, 10000) FROM ({_ASLEEP}) AS run")


def let_leases_end(hub: Hub) -> list[str]:
    """Have a lease's time pass; return the jobs that were held by whoever died."""
    return [
        row["job_id"]
        for row in hub.sql(
            "UPDATE musehub_background_jobs SET lease_expires_at = now() - interval '1 s'"
            " WHERE lease_expires_at > now() RETURNING job_id"
        )
    ]


def kill_at(hub: Hub, job_id: str, **variables: str) -> None:
    """Run the day in a process of its own, and kill it while it publishes a job."""
    published = "NEW.lease_expires_at IS NULL AND NEW.index_version = 1"
    when(hub, job_id, published, do="PERFORM pg_sleep(600)")
    child = subprocess.Popen(
        [sys.executable, "-c", _RUN],
        env=os.environ | environment(hub, **variables),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: asleep(hub) or child.poll() is not None)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    end_sleep(hub)
    interfere_no_more(hub)
