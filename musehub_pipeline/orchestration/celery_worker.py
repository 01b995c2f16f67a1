"""The app of Celery's workers: `celery --app musehub_pipeline.orchestration.celery_worker worker`.

It is what dagster.yaml says of the launcher, so that a worker is where its daemon puts runs. That
of dagster-celery reads a file of its own, and without it looks for a broker on this machine.
"""

import gc
import importlib
import os

from dagster._core.instance import InstanceRef
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.orchestration.spares import DEFINITIONS, rehearse


def _launcher() -> CeleryRunLauncher:
    """Return the launcher, and open nothing else of the instance: what comes next forks."""
    launcher = InstanceRef.from_dir(os.environ["DAGSTER_HOME"]).run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise SettingsError("DAGSTER_HOME: the launcher of its dagster.yaml is not Celery's")
    return launcher


app = _launcher().celery
create_execute_job_task(app)
importlib.import_module(DEFINITIONS)
rehearse()
gc.freeze()  # each process of the pool begins with what is here
