"""How Dagster runs here: all that dagster.yaml says."""

from importlib.resources import files

import yaml

SHIPPED = files("musehub_pipeline.orchestration").joinpath("dagster.yaml")


def test_dagster_runs_as_the_pipeline_needs_it() -> None:
    assert yaml.safe_load(SHIPPED.read_text("utf-8")) == {
        "run_launcher": {
            "module": "musehub_pipeline.orchestration.launcher",
            "class": "SpareRunLauncher",
        },
        "run_coordinator": {
            "module": "musehub_pipeline.orchestration.launcher",
            "class": "LaneRunCoordinator",
            "config": {
                "max_concurrent_runs": 10,
                "dequeue_interval_seconds": 2,
                "tag_concurrency_limits": [
                    {"key": "musehub/lane", "value": "backfill", "limit": 1}
                ],
                "max_user_code_failure_retries": 60,
                "user_code_failure_retry_delay": 5,
            },
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
        "compute_logs": {
            "module": "musehub_pipeline.orchestration.records",
            "class": "TickLogs",
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }
