"""Tells a webhook of runs that met trouble: an example of an alert, for you to change.

It is a code location of its own, beside that of the pipeline; README.md says how to have it.
"""

import dagster as dg
import requests

from musehub_pipeline.domain.trouble import SERIOUS

_RUNS_AT_ONCE = 1000
_SECONDS = 10
_URL = dg.EnvVar("MUSEHUB_ALERT_URL")


def _alert(name: str, ended: dg.DagsterEventType, description: str) -> dg.SensorDefinition:
    """Return a sensor that tells of runs that ended in this way.

    It is no sensor on the status of runs, as Dagster offers one: that would not tell again what the
    webhook did not take.
    """

    @dg.sensor(
        name=name,
        description=description,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        instance, cursor = context.instance, context.cursor
        if cursor is None:  # what ended before it was there is no news
            newest = instance.fetch_run_status_changes(ended, limit=1)
            context.update_cursor(newest.cursor)
            return dg.SkipReason("begins with what ends from now on")
        found = instance.fetch_run_status_changes(
            ended, limit=_RUNS_AT_ONCE, cursor=cursor, ascending=True
        )
        run_ids = [record.run_id for record in found.records]
        runs = instance.get_runs(dg.RunsFilter(run_ids=run_ids)) if run_ids else []
        for run in runs:
            _tell(run)
        context.update_cursor(found.cursor)  # not where the webhook was away: then it tells again
        return dg.SkipReason(f"{len(runs)} runs")

    return alert


def _tell(run: dg.DagsterRun) -> None:
    """Post what is wrong with a run, if anything is.

    Raises:
        requests.RequestException: the webhook did not take it.
    """
    codes = run.tags.get("musehub/codes", "").split(",")
    serious = [code for code in codes if code in SERIOUS]
    if not serious and run.is_success:
        return
    what = ", ".join(serious) or "it failed"
    text = f"musehub_pipeline: run {run.run_id} of {run.job_name}: {what}"
    answer = requests.post(_URL.get_value(), json={"text": text}, timeout=_SECONDS)
    answer.raise_for_status()


defs = dg.Definitions(
    sensors=[
        _alert(
            "trouble_webhook",
            dg.DagsterEventType.RUN_SUCCESS,
            "Tells MUSEHUB_ALERT_URL of runs whose jobs met trouble, such as storage that is away.",
        ),
        _alert(
            "failure_webhook",
            dg.DagsterEventType.RUN_FAILURE,
            "Tells MUSEHUB_ALERT_URL of runs that failed. Their jobs are taken up by other runs.",
        ),
    ]
)
