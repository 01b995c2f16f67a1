#!/usr/bin/env bash
# Dagster 1.13.27.
#
# A run in process takes over SIGINT and SIGTERM. One that comes within a step is raised there; one that comes between
# two steps is raised as the next one begins. After the last step none begins: the signal is dropped, the run succeeds,
# and a program that runs one after the other goes on with the next, though it was told to stop.
#
# Seen, of three runs that were to be made:
#   SIGTERM within the step: DagsterExecutionInterruptedError after 1
#   SIGTERM as the run succeeds: went on to 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27
cat >"$folder/look.py" <<'PYTHON'
import os
import signal
from uuid import uuid4

import dagster as dg

within = True


def told_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@dg.op
def work() -> None:
    if within:
        told_to_stop()


@dg.job
def working() -> None:
    work()


def at_the_end(event: dg.EventLogEntry) -> None:
    if not within and event.dagster_event_type is dg.DagsterEventType.RUN_SUCCESS:
        told_to_stop()


def runs() -> str:
    for number in (1, 2, 3):
        run_id = str(uuid4())
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_event_listener(run_id, at_the_end)
            try:
                assert working.execute_in_process(instance=instance, run_id=run_id).success
            except BaseException as error:
                return f"{type(error).__name__} after {number}"
    return f"went on to {number}"


print("SIGTERM within the step:", runs())
within = False
print("SIGTERM as the run succeeds:", runs())
PYTHON
DAGSTER_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" "$folder/look.py" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
SIGTERM within the step: DagsterExecutionInterruptedError after 1
SIGTERM as the run succeeds: went on to 3
SEEN
