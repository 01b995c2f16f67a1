#!/usr/bin/env bash
# Dagster 1.13.29.
#
# A run of one op that prints nothing starts four further processes, where Dagster captures stdout and
# stderr, as it does unless told otherwise: for each of the two a tail, to copy the file to the terminal,
# and a Python that ends the tail when the run has died. They last as long as the run. With the manager
# that captures nothing, none is started.
#
# Seen:
#   LocalComputeLogManager: python python tail tail
#   NoOpComputeLogManager: none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.29 psutil==7.2.2
cat >"$folder/look.py" <<'PYTHON'
import sys
from pathlib import Path

import dagster as dg
import psutil

MANAGERS = {
    "LocalComputeLogManager": "dagster._core.storage.local_compute_log_manager",
    "NoOpComputeLogManager": "dagster._core.storage.noop_compute_log_manager",
}


@dg.op
def look() -> str:
    children = psutil.Process().children(recursive=True)
    return " ".join(sorted(Path(child.cmdline()[0]).name[:6] for child in children)) or "none"


@dg.job
def one_op() -> None:
    look()


for manager, module in MANAGERS.items():
    config = {"base_dir": sys.argv[1]} if manager.startswith("Local") else {}
    logs = {"module": module, "class": manager, "config": config}
    with dg.DagsterInstance.local_temp(sys.argv[1], overrides={"compute_logs": logs}) as instance:
        run = one_op.execute_in_process(instance=instance)
        print(f"{manager}: {run.output_for_node('look')}")
PYTHON
mkdir "$folder/home"
"$folder/venv/bin/python" "$folder/look.py" "$folder/home" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
LocalComputeLogManager: python python tail tail
NoOpComputeLogManager: none
SEEN
