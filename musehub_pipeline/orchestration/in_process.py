"""Runs of the Dagster job in this process: for the command line, for tests, for one job row."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import dagster as dg

from musehub_pipeline import local
from musehub_pipeline.definitions import build_defs
from musehub_pipeline.domain.errors import JobFailed, JobNotDone
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import Result, in_order
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.settings import Settings
from musehub_pipeline.storage.database import Database, Row
from musehub_pipeline.storage.queue import Queue

# Also without a dagster.yaml, the summary lines belong into the event log.
_EPHEMERAL = {
    "python_logs": {"managed_python_loggers": ["musehub_pipeline"], "python_log_level": "INFO"},
    "telemetry": {"enabled": False},
}


class Runner:
    """Runs `index_mpacks` in this process, as often as it is told to."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._job = build_defs(musehub=fixed_resource(settings)).get_job_def("index_mpacks")
        self._instance = instance

    def run(self, job_ids: Sequence[str] = ()) -> list[str]:
        """Index a batch; return the ids of the jobs that it took, whatever became of them.

        Raises:
            Exception: what an op raised; trouble of single jobs stays in their rows.
        """
        config = {
            "ops": {"claim_jobs": {"config": {"job_ids": list(job_ids)}}},
            # The caller's logging decides what to show; Dagster's own console would repeat it.
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        run = self._job.execute_in_process(run_config=config, instance=self._instance)
        batch: Batch = run.output_for_node("claim_jobs")
        return [item.claim.job_id for item in batch.items]


@contextmanager
def dagster_instance() -> Generator[dg.DagsterInstance]:
    """Open Dagster's instance: that of DAGSTER_HOME, else one that lives as long as the block."""
    if os.environ.get("DAGSTER_HOME"):
        opened = dg.DagsterInstance.get()
    else:
        opened = dg.DagsterInstance.ephemeral(settings=_EPHEMERAL)
    with opened as instance:
        yield instance


def process_mpack_index_job(job_id: str, settings: Settings | None = None) -> Result:
    """Index one job in this process, through the Dagster job, and return its result.

    A job that is done already is not indexed again: its stored result is returned.

    Raises:
        JobFailed: the job ended failed, now or earlier.
        JobNotFound: no row has that id.
        JobNotDone: the job waits: for an earlier one of its repository, for another run that has
            it, or for another attempt after transient trouble; the message says which.
        SettingsError: a setting is not valid.
        Transient: the database could not be reached.
    """
    resolved = local.resolve(settings or Settings.load())
    with Database(str(resolved.database_url)) as database:
        queue = Queue(database, lease=resolved.lease, max_attempts=resolved.max_attempts)
        row = queue.require(job_id)
        if row["status"] not in {Status.DONE, Status.FAILED}:
            with dagster_instance() as instance:
                Runner(resolved, instance).run([job_id])
            row = queue.require(job_id)
        return _result_of(row, queue)


def _result_of(row: Row, queue: Queue) -> Result:
    job_id = row["job_id"]
    match row["status"]:
        case Status.DONE:
            return in_order(row["result"])
        case Status.FAILED:
            raise JobFailed(job_id, row["error_code"], row["error"])
        case Status.RUNNING:
            raise JobNotDone(f"job {job_id} is held by run {row['run_id']}")
        case _:
            pass
    if row["error_code"] is not None:
        raise JobNotDone(
            f"job {job_id} is pending again, not before {row['not_before']},"
            f" {row['error_code']}: {row['error']}"
        )
    blocking = queue.blocking_job(job_id)
    reason = f", job {blocking['job_id']} goes first" if blocking else ""
    raise JobNotDone(f"job {job_id} is pending{reason}")
