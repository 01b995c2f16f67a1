"""Runs of the Dagster jobs in this process: for the command line, for tests, for one job row."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import uuid4

import dagster as dg

from musehub_pipeline import local
from musehub_pipeline.domain.backfill import Choice, Report
from musehub_pipeline.domain.errors import Deferral, JobFailed, JobNotDone, PipelineError
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import Result, in_order
from musehub_pipeline.orchestration.backfill import backfill_mpacks_job
from musehub_pipeline.orchestration.choice import BackfillConfig
from musehub_pipeline.orchestration.home import OUR_TAGS, named_if_unavailable
from musehub_pipeline.orchestration.jobs import index_mpacks_job
from musehub_pipeline.orchestration.ops import ClaimConfig
from musehub_pipeline.orchestration.resources import MusehubResource, fixed_resource
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.queue.jobs import JobRow, Jobs
from musehub_pipeline.settings import Settings, first_day

_NO_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


class Runner:
    """Runs `index_mpacks` in this process, as often as it is told to."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._job = index_mpacks_job(fixed_resource(settings))
        self._instance = instance

    def run(self, job_ids: Sequence[str] = ()) -> list[str]:
        """Index a batch; return the ids of the jobs that it worked on, whatever became of them.

        A job that was put off, as one that did not fit into the batch, is not among them.

        Raises:
            Exception: what an op raised; trouble of single jobs stays in their rows.
            KeyboardInterrupt: the process was told to stop; the leases were given back, unspent.
            RecordsUnavailable: Dagster's database went away; the leases were given back too.
        """
        with _our_errors():
            run = self._job.execute_in_process(
                run_config=_run_config(claim_jobs=ClaimConfig(job_ids=list(job_ids))),
                instance=self._instance,
                run_id=str(uuid4()),
                tags=OUR_TAGS,
            )
        batch: Batch = run.output_for_node(PHASES[-1].__name__)
        return [i.claim.job_id for i in batch.items if not isinstance(i.error, Deferral)]


class BackfillRunner:
    """Runs `backfill_mpacks` in this process, a day at a time, by the settings of its environment.

    It is loaded as elsewhere: in Dagster's own kind of run in process every batch is kept until
    the run ends, whatever it holds.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._job = dg.reconstructable(_backfill_job)
        self._instance = instance

    def run(self, day: date, choice: Choice) -> tuple[str, Report]:
        """Index again what a choice takes of a day; return the run's id, and what came of it.

        Raises:
            Exception: what an op raised; trouble of single jobs leaves them as they were.
            KeyboardInterrupt: the process was told to stop; what is done by then is done.
        """
        config = BackfillConfig(
            select=choice.selection,
            codes=list(choice.codes),
            repo_id=choice.repo_id,
            ended_before=choice.ended_before and choice.ended_before.isoformat(),
        )
        job = self._job.get_definition()
        tags = job.get_tags_for_partition_key(day.isoformat(), selected_asset_keys=None)
        with (
            _our_errors(),
            dg.execute_job(
                self._job,
                self._instance,
                run_config=_run_config(plan_backfill=config),
                tags=OUR_TAGS | dict(tags),
                raise_on_error=True,
            ) as run,
        ):
            [report] = [
                event.step_output_data.metadata
                for event in run.events_for_node("report_backfill")
                if event.is_successful_output
            ]
            return run.run_id, Report.from_dict({k: v.value for k, v in report.items()})


def _backfill_job() -> dg.JobDefinition:
    return backfill_mpacks_job(MusehubResource(), start=first_day())


def _run_config(**ops: dg.Config) -> dict[str, Any]:
    # The caller's logging decides what to show; Dagster's own console would repeat it.
    quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
    return dg.RunConfig(ops=dict(ops), loggers=quiet).to_config_dict()


@contextmanager
def _our_errors() -> Generator[None]:
    """Raise what happened, where Dagster wrapped it."""
    try:
        with named_if_unavailable():
            yield
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except dg.DagsterError as error:
        # It wraps what befell a resource; what happened is our own error below it.
        if isinstance(error.__cause__, PipelineError):
            raise error.__cause__ from None
        raise


@contextmanager
def dagster_instance() -> Generator[dg.DagsterInstance]:
    """Open Dagster's instance: that of DAGSTER_HOME, else one that lives as long as the block.

    It does not keep what this process prints: that is for the terminal, and to copy it took a
    fifth of the time of a small run.

    Raises:
        RecordsUnavailable: its database cannot be reached.
    """
    if home := os.environ.get("DAGSTER_HOME"):
        with named_if_unavailable():
            # Despite its name it opens the folder as it is, for good, but for what it overrides.
            opened = dg.DagsterInstance.local_temp(home, overrides=_NO_CAPTURE)
    else:
        opened = dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}})
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
    with open_database(resolved) as database:
        jobs = Jobs(database)
        row = jobs.require(job_id)
        if row["status"] not in {Status.DONE, Status.FAILED}:
            with dagster_instance() as instance:
                Runner(resolved, instance).run([job_id])
            row = jobs.require(job_id)
        return _result_of(row, jobs)


def _result_of(row: JobRow, jobs: Jobs) -> Result:
    job_id = row["job_id"]
    match row["status"]:
        case Status.DONE:
            return in_order(row["result"] or {})
        case Status.FAILED:
            raise JobFailed(job_id, str(row["error_code"]), str(row["error"]))
        case _:
            raise JobNotDone(f"job {job_id} {jobs.explain(row)}")
