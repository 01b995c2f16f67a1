"""What is left of runs that died: for so long, and then nothing."""

from collections.abc import Sequence

from musehub_pipeline_tests.acceptance.dev import ENDED, LEASE_SECONDS, Dev
from musehub_pipeline_tests.acceptance.publications import publications

TICK_SECONDS = 5 + 5
"""The sensor looks every five seconds within a tick, and Dagster takes five between two."""
SLOW_SECONDS = 90
"""What a busy machine may take longer: less than what Dagster gives a run that does not start."""


def holders(dev: Dev) -> list[str]:
    """Return the runs that hold jobs."""
    rows = dev.hub.sql(
        "SELECT run_id FROM musehub_background_jobs WHERE status = 'running' ORDER BY run_id"
    )
    return [row["run_id"] for row in rows]


def wait_until_given_up(dev: Dev, dead: Sequence[str]) -> None:
    """Wait for no longer than a lease and a tick until Dagster and the queue gave runs up."""
    dev.wait(
        lambda: (
            {run["status"] for run in dev.runs() if run["run_id"] in dead} <= ENDED
            and not set(holders(dev)) & set(dead)
        ),
        seconds=LEASE_SECONDS + TICK_SECONDS + SLOW_SECONDS,
    )


def assert_drained(dev: Dev, jobs: Sequence[str]) -> None:
    """Wait until all is done; then each was published once, and nothing is wrong or at work."""
    dev.wait(lambda: dev.statuses() == {"done": len(jobs)}, seconds=600)
    dev.wait(lambda: {run["status"] for run in dev.runs()} <= ENDED, seconds=180)
    assert publications(dev.hub) == sorted(jobs)
    assert dev.breaches() == []
