"""The services of a run: what they are made of."""

import gc
from datetime import timedelta

from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.phases.services import open_services, policy_of
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.hub import Hub


def test_garbage_is_searched_for_in_what_came_since_the_first_services_only(hub: Hub) -> None:
    with open_services(hub.settings):
        spared = gc.get_freeze_count()
    with open_services(hub.settings):
        assert gc.get_freeze_count() == spared > 0


def test_the_phases_go_by_the_settings() -> None:
    settings = Settings.load(
        {
            "batch_jobs": 3,
            "batch_bytes": 4,
            "max_attempts": 2,
            "retry_base_seconds": 0.5,
            "retry_cap_seconds": 9,
            "id_policy": "record",
            "phase_budgets_ms": "object_puts_ms=5000, elapsed_ms=8e3",
            "max_commits": 1,
            "max_objects": 2,
            "max_snapshots": 3,
            "max_mpack_bytes": 5,
        }
    )

    policy = policy_of(settings)

    assert (policy.batch_jobs, policy.batch_bytes, policy.max_attempts) == (3, 4, 2)
    assert (policy.retry_base, policy.retry_cap) == (timedelta(seconds=0.5), timedelta(seconds=9))
    assert policy.id_policy == "record"
    assert policy.phase_budgets == {"object_puts_ms": 5000.0, "elapsed_ms": 8000.0}
    assert policy.limits == Limits(mpack_bytes=5, objects=2, snapshots=3, commits=1)
