"""Runs of Dagster that stand in the midst of their work, for whatever a test does to them.

They stand at places of each kind; at every op and every write, phases/test_killed_runs.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.gate import Gate
from musehub_pipeline_tests.acceptance.publications import count_publications
from musehub_pipeline_tests.acceptance.pushes import push_many

# The first to start go as far as a table; that which comes last stops first: before it claims, it
# has no lease that would last.
TABLES = ("musehub_objects", "musehub_commits", "musehub_branches")
BEFORE_OPS = ("unpack", "claim_jobs")
RUNS = len(TABLES) + len(BEFORE_OPS)


@contextmanager
def standing_runs(dev: Dev) -> Iterator[list[str]]:
    """Have them stand for as long as this lasts; yield their jobs."""
    count_publications(dev.hub)
    with (
        Gate(dev.dagster_database_url) as before_ops,
        Gate(str(dev.hub.settings.database_url)) as behind_rows,
    ):
        before_ops.stand_before_ops([""] * len(TABLES) + list(BEFORE_OPS))
        behind_rows.stand_behind_rows(TABLES)
        jobs = push_many(dev.hub, repos=RUNS, each=1)
        dev.wait(
            lambda: (before_ops.waiting(), behind_rows.waiting()) == (len(BEFORE_OPS), len(TABLES)),
            seconds=300,
        )
        yield jobs
