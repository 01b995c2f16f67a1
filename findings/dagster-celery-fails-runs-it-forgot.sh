#!/usr/bin/env bash
# dagster-celery 0.29.27 with Dagster 1.13.27.
#
# Celery's answer for a task that its backend knows nothing of, PENDING, is the one for a task that waits. The
# launcher's health check takes it for "unknown", and Dagster's run monitoring ends a run whose worker is unknown. So
# a run that is at work reads FAILURE once the backend is emptied, or its result has expired (a day, in Celery). A
# run that no launcher started, as execute_in_process does, has no task; there the check raises.
#
# Seen:
#   at work, and its task is known as STARTED: STARTED
#   at work, and the backend was emptied: FAILURE
#   at work in process: KeyError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27 dagster-celery==0.29.27
export DAGSTER_DISABLE_TELEMETRY=1
cat >"$folder/look.py" <<'PYTHON'
import logging

import dagster as dg
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

LAUNCHER = {
    "module": "dagster_celery.launcher",
    "class": "CeleryRunLauncher",
    "config": {"broker": "memory://", "backend": "cache+memory://"},
}


@dg.job
def working() -> None:
    pass


def status_after(*, known: bool, tags: dict[str, str]) -> str:
    settings = {"run_launcher": LAUNCHER, "run_monitoring": {"enabled": True}}
    with dg.DagsterInstance.local_temp(overrides=settings) as instance:
        run = instance.create_run_for_job(working, status=dg.DagsterRunStatus.STARTED, tags=tags)
        backend = instance.run_launcher.celery.backend
        if known:
            backend.store_result(tags["dagster-celery/task_id"], None, "STARTED")
        record = instance.get_run_record_by_id(run.run_id)
        try:
            monitor_started_run(instance, None, record, logging.getLogger("quiet"))
        except KeyError:
            return "KeyError"
        return instance.get_run_by_id(run.run_id).status.value


task = {"dagster-celery/task_id": "a-task"}
print("at work, and its task is known as STARTED:", status_after(known=True, tags=task))
other = {"dagster-celery/task_id": "another-task"}
print("at work, and the backend was emptied:", status_after(known=False, tags=other))
print("at work in process:", status_after(known=False, tags={}))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
at work, and its task is known as STARTED: STARTED
at work, and the backend was emptied: FAILURE
at work in process: KeyError
SEEN
