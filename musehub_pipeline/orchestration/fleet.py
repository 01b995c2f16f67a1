"""How runs begin on a fleet: workers take them from Redis. dagster.yaml names the class."""

from typing import Any

import dagster as dg
from celery import states
from celery.canvas import Signature
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from redis.exceptions import RedisError

from musehub_pipeline.orchestration.runs import TASK_TAG

_SENT = "SENT"


class FleetRunLauncher(CeleryRunLauncher):
    """Has a run executed as a task of Celery, as Dagster does, and knows whether Redis forgot it.

    Celery answers PENDING for a task that waits, and for one that it never heard of. So Redis notes
    a task as sent, before it gets it.
    """

    def _launch_celery_task_run(
        self, run: dg.DagsterRun, task_signature: Signature, routing_key: str
    ) -> None:
        task_id = task_signature.freeze().id
        self.celery.backend.store_result(task_id, None, _SENT)
        super()._launch_celery_task_run(run, task_signature, routing_key)  # pyright: ignore[reportArgumentType]

    def has_lost(self, run: dg.DagsterRun) -> bool:
        """Tell whether Redis had a run and has forgotten it: no worker will begin it."""
        try:
            return self._state(run) == states.PENDING
        except RedisError:
            return False  # nobody can say

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether a run's task is alive; where Redis knows none, the run's heartbeat tells.

        Dagster would fail that run, though it is at work.
        """
        if TASK_TAG not in run.tags or self._state(run) == states.PENDING:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return super().check_run_worker_health(run)

    def _state(self, run: dg.DagsterRun) -> Any:
        return self.celery.AsyncResult(run.tags[TASK_TAG]).state
