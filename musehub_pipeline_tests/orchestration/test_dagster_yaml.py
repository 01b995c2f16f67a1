"""How Dagster runs here: all that dagster.yaml says."""

from importlib.resources import files

import yaml

SHIPPED = files("musehub_pipeline.orchestration").joinpath("dagster.yaml")


def test_dagster_runs_as_the_pipeline_needs_it() -> None:
    assert yaml.safe_load(SHIPPED.read_text("utf-8")) == {
        "run_queue": {
            "max_concurrent_runs": 10,
            "dequeue_interval_seconds": 1,
            "tag_concurrency_limits": [{"key": "musehub/lane", "value": "backfill", "limit": 1}],
        },
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 180},
        "run_retries": {"enabled": False},
        "sensors": {"use_threads": True, "num_workers": 4},
        "retention": {
            "sensor": {
                "purge_after_days": {"skipped": 1, "started": 7, "success": 7, "failure": 30}
            },
            "schedule": {"purge_after_days": 30},
        },
        "python_logs": {
            "managed_python_loggers": [
                "musehub_pipeline.phases",
                "musehub_pipeline.objects",
                "musehub_pipeline.heartbeat",
                "musehub_pipeline.database",
            ]
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }
