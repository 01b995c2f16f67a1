#!/usr/bin/env bash
# Dagster 1.13.27.
#
# A plain sensor that raises is evaluated again from where its cursor stood. A sensor on the status of runs is
# not: its cursor moves beyond a run whether or not the function got through with it, and no tick calls it for
# that run again. An alert that its receiver did not take is gone.
#
# Seen:
#   a sensor with a cursor: called for the run, called for the run
#   a run_failure_sensor: called for the run, not called
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27
cat >"$folder/look.py" <<'PYTHON'
import dagster as dg

called = []


def tell(run_id: str) -> None:
    called.append(run_id)
    raise ConnectionError("the receiver is away")


@dg.run_failure_sensor
def told_by_dagster(context: dg.RunFailureSensorContext) -> None:
    tell(context.dagster_run.run_id)


@dg.sensor()
def with_a_cursor(context: dg.SensorEvaluationContext) -> None:
    found = context.instance.fetch_run_status_changes(
        dg.DagsterEventType.RUN_FAILURE, limit=10, cursor=context.cursor, ascending=True
    )
    for record in found.records:
        tell(record.run_id)
    context.update_cursor(found.cursor)


@dg.op
def fail() -> None:
    raise RuntimeError


@dg.job
def failing() -> None:
    fail()


repository = dg.Definitions(jobs=[failing]).get_repository_def()
for name, sensor in {
    "a sensor with a cursor": with_a_cursor,
    "a run_failure_sensor": told_by_dagster,
}.items():
    with dg.DagsterInstance.ephemeral() as instance:
        cursor, seen = None, []
        for tick in range(3):
            called.clear()
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, repository_def=repository
            )
            try:
                cursor = sensor.evaluate_tick(context).cursor
            except Exception:  # the tick fails, and its cursor is not kept
                pass
            if tick:
                seen.append("called for the run" if called else "not called")
            else:  # both begin with what comes
                failing.execute_in_process(instance=instance, raise_on_error=False)
        print(f"{name}: {', '.join(seen)}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
a sensor with a cursor: called for the run, called for the run
a run_failure_sensor: called for the run, not called
SEEN
