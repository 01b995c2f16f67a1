"""Runs of the Dagster jobs in this process: for the command line, for tests, for one job row."""

import os
import signal
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from time import sleep
from typing import Any
from uuid import uuid4

import dagster as dg

from musehub_pipeline import local
from musehub_pipeline.domain.backfill import Report, Selection
from musehub_pipeline.domain.errors import (
    READ_AGAIN,
    Deferral,
    JobFailed,
    JobNotDone,
    PipelineError,
)
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import Result, in_order
from musehub_pipeline.orchestration.backfill_config import BackfillConfig
from musehub_pipeline.orchestration.backfill_mpacks import backfill_mpacks_job
from musehub_pipeline.orchestration.index_mpacks import ClaimConfig, index_mpacks_job
from musehub_pipeline.orchestration.instance import OUR_TAGS, dagster_instance, named_if_unavailable
from musehub_pipeline.orchestration.resources import MusehubResource, fixed_resource
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.jobs import JobRow, Jobs
from musehub_pipeline.settings import Settings, first_day

_TO_STOP = {signal.SIGINT, signal.SIGTERM}
_MOST_SIGNALS = 4_096


class Runner:
    """Runs `index_mpacks` in this process, as often as it is told to."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._job = index_mpacks_job(fixed_resource(settings))
        self._instance = instance

    def run(self, job_ids: Sequence[str] = (), *, run_id: str | None = None) -> list[str]:
        """Index a batch; return the ids of the jobs that it worked on, whatever became of them.

        A job that was put off, as one that did not fit into the batch, is not among them. `run_id`
        is the run's, a UUID, where it has been given one.

        Raises:
            Exception: what an op raised; trouble of single jobs stays in their rows.
            KeyboardInterrupt: the process was told to stop; the leases were given back, unspent.
            RecordsUnavailable: Dagster's database went away; the leases were given back too.
        """
        with _our_errors():
            run = self._job.execute_in_process(
                run_config=_run_config(claim_jobs=ClaimConfig(job_ids=list(job_ids))),
                instance=self._instance,
                run_id=run_id or str(uuid4()),
                tags=OUR_TAGS,
            )
        batch: Batch = run.output_for_node(PHASES[-1].__name__)
        return [i.claim.job_id for i in batch.items if not isinstance(i.error, Deferral)]


class BackfillRunner:
    """Runs `backfill_mpacks` in this process, a day at a time, by the settings of its environment.

    The job is loaded as a code location loads it. `execute_in_process` would keep every batch in
    memory until the run ends.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._job = dg.reconstructable(_backfill_job)
        self._instance = instance

    def run(self, day: date, selection: Selection) -> tuple[str, Report]:
        """Index again what a selection takes of a day; return the run's id, and what came of it.

        Raises:
            Exception: what an op raised; trouble of single jobs leaves them as they were.
            KeyboardInterrupt: the process was told to stop; what is done by then is done.
        """
        config = BackfillConfig(
            select=selection.select,
            codes=list(selection.codes),
            repo_id=selection.repo_id,
            ended_before=selection.ended_before and selection.ended_before.isoformat(),
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
    """Raise what happened, where Dagster wrapped it or forgot it; SIGTERM does what it did."""
    try:
        with _told_to_stop(), named_if_unavailable(), _sigterm_kept():
            yield
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except dg.DagsterError as error:
        # It wraps what befell a resource; what happened is our own error below it.
        if isinstance(error.__cause__, PipelineError):
            raise error.__cause__ from None
        raise


@contextmanager
def _told_to_stop() -> Generator[None]:
    """Raise KeyboardInterrupt at the end where a signal to stop has come, but stopped nothing.

    Dagster puts off a signal that comes between two steps until the next one begins. After the last
    step none does, and the signal is forgotten.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not interrupt it
        return
    error: Exception | None = None
    reader, writer = socket.socketpair()
    with reader, writer:
        for end in (reader, writer):
            end.settimeout(0)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        except Exception as caught:
            error = caught
        finally:
            signal.set_wakeup_fd(before)
            signals = _received(reader)
            if before != -1:
                with suppress(OSError):  # whoever waits for signals there has had none meanwhile
                    os.write(before, signals)
    if not _TO_STOP.isdisjoint(signals):
        raise KeyboardInterrupt from error
    if error is not None:
        raise error


def _received(reader: socket.socket) -> bytes:
    try:
        return reader.recv(_MOST_SIGNALS)
    except BlockingIOError:
        return b""


@contextmanager
def _sigterm_kept() -> Generator[None]:
    """Restore the handler of SIGTERM at the end.

    Dagster leaves SIGTERM acting like Ctrl-C, which does nothing in a background process.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def process_mpack_index_job(job_id: str, settings: Settings | None = None) -> Result:
    """Index one job in this process, through the Dagster job, and return its result.

    A job that is done already is not indexed again: its stored result is returned. An mpack that is
    missing, or wrong, is read again for as long as `Settings.read_again_seconds` says.

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
                row = _run_until_judged(row, Runner(resolved, instance), jobs, database)
        return _result_of(row, jobs)


def _run_until_judged(row: JobRow, runner: Runner, jobs: Jobs, database: Database) -> JobRow:
    """Run a job, and again as long as its mpack has to be read again; return its row."""
    while True:
        before = row
        runner.run([row["job_id"]])
        row = jobs.require(row["job_id"])
        waits_for = row["not_before"] if row["status"] == Status.PENDING else None
        if waits_for is None or row["error_code"] not in READ_AGAIN:
            return row
        if row["attempt"] == before["attempt"]:  # it was not claimed
            return row
        sleep(max(0.0, (waits_for - database.now()).total_seconds()))


def _result_of(row: JobRow, jobs: Jobs) -> Result:
    job_id = row["job_id"]
    match row["status"]:
        case Status.DONE:
            return in_order(row["result"] or {})
        case Status.FAILED:
            raise JobFailed(job_id, str(row["error_code"]), str(row["error"]))
        case _:
            raise JobNotDone(f"job {job_id} {jobs.explain(row)}")
