"""A whole Dagster run over its phases."""

import os
from collections.abc import Iterator
from unittest.mock import patch

from musehub_pipeline.domain.job import Status
from musehub_pipeline.orchestration.home import use_dagster_home
from musehub_pipeline.orchestration.in_process import Runner, dagster_instance
from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint, index, push, status, upload
from musehub_pipeline_tests.benchmarks.figures import Figure, excess, interleave, seconds
from musehub_pipeline_tests.benchmarks.mpacks import mixed


def dagster_run(bench: Bench) -> Iterator[Figure]:
    """Compare with the same phases called bare, from the opening of the services to their end.

    Either indexes the first push of an mpack to an empty database and an empty directory.
    """
    mpack = bench.mpack(mixed(1))

    def dagster() -> float:
        with bench.database() as database_url:
            settings = bench.settings(database_url)
            upload(settings, None, mpack)
            job_id = push(database_url, mpack)
            runner = Runner(settings, instance)
            checkpoint(database_url)
            elapsed = seconds(lambda: runner.run([job_id]))
            assert status(database_url, job_id) == Status.DONE
            return elapsed

    def bare() -> float:
        with bench.database() as database_url:
            settings = bench.settings(database_url)
            upload(settings, None, mpack)
            job_id = push(database_url, mpack)
            checkpoint(database_url)

            def run() -> None:
                with open_services(settings) as services:
                    index(services, job_id)

            return seconds(run)

    with patch.dict(os.environ), bench.database() as url_beside:
        os.environ.pop("DAGSTER_HOME", None)
        use_dagster_home(bench.settings(url_beside))
        with dagster_instance() as instance:
            pairs = interleave(dagster, bare, runs=bench.runs)
    yield excess(
        "dagster_run",
        f"{mpack.size_bytes / 1e6:,.1f} MB, claim to summary, over the phases called bare",
        pairs,
        unit="s",
        limit=0.6,
        note="in process, events in PostgreSQL",
    )
