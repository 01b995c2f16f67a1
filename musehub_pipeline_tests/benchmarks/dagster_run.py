"""A whole Dagster run over its phases."""

from collections.abc import Iterator

from musehub_pipeline.domain.job import Status
from musehub_pipeline.orchestration.in_process import Runner
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

    with bench.dagster() as instance:
        pairs = interleave(dagster, bare, runs=bench.runs)
    yield excess(
        "dagster_run",
        f"{mpack.size_bytes / 1e6:,.1f} MB, claim to summary, over the phases called bare",
        pairs,
        unit="s",
        limit=0.6,
        note="in process, events in PostgreSQL",
    )
