"""How runs begin on Kubernetes: each in a pod of its own. dagster.yaml names the class."""

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher


class PodRunLauncher(K8sRunLauncher):
    """Launches a run in a pod, as Dagster does, and leaves those of commands alone.

    Dagster would fail a run for which it finds no pod. Those of `index`, as of a worker that stays,
    have none: of them, their heartbeat tells.
    """

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether a run's pod is alive."""
        if run.remote_job_origin is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return super().check_run_worker_health(run)
