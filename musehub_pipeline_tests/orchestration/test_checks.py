"""The checks of a run and the tags of a run: what went wrong shows where people look."""

from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.checks import fsck, queue_age, refused_pushes, trouble
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.observed import evaluations, run

EMPTY = History().mpack()
NOT_MSGPACK = b"\xc1"
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR

Verdict = tuple[bool, dg.AssetCheckSeverity, str | None, dict[str, Any]]


def verdict(instance: dg.DagsterInstance, check: dg.AssetChecksDefinition) -> Verdict:
    """Return the only evaluation of a check."""
    [found] = evaluations(instance, check)
    return (
        found.passed,
        found.severity,
        found.description,
        {name: value.value for name, value in found.metadata.items()},
    )


def tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.SUCCESS
    names = ("musehub/failed", "musehub/put_back", "musehub/codes")
    return {name: found.tags[name] for name in names if name in found.tags}


def by_hand(hub: Hub, instance: dg.DagsterInstance, **changes: Any) -> None:
    settings = hub.settings.model_copy(update=changes)
    job = build_defs(musehub=fixed_resource(settings)).resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance).success


def test_where_all_went_well_each_check_passes_and_the_run_has_no_tag(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo(), EMPTY)

    run_id = run(hub, instance)

    assert verdict(instance, trouble) == (True, ERROR, None, {"jobs_by_code": {}})
    assert verdict(instance, refused_pushes) == (True, WARN, None, {"jobs_by_code": {}})
    passed, _, _, figures = verdict(instance, queue_age)
    assert (passed, figures["most_seconds"]) == (True, 300)
    assert 0 <= figures["oldest_seconds"] < 300
    assert tags(instance, run_id) == {}


def test_refused_pushes_are_counted_by_reason_and_the_run_succeeds(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo("a"), EMPTY)
    for slug in "bc":
        hub.push(hub.create_repo(slug), NOT_MSGPACK)
    hub.push(hub.create_repo("d"), EMPTY, declared_objects_count=7)

    run_id = run(hub, instance)

    refused = {"MPACK_MALFORMED": 2, "COUNT_MISMATCH": 1}
    line = "COUNT_MISMATCH 1, MPACK_MALFORMED 2"
    assert verdict(instance, refused_pushes) == (False, WARN, line, {"jobs_by_code": refused})
    assert verdict(instance, trouble) == (True, ERROR, None, {"jobs_by_code": {}})
    assert tags(instance, run_id) == {
        "musehub/failed": "3",
        "musehub/codes": "COUNT_MISMATCH,MPACK_MALFORMED",
    }


def test_trouble_with_storage_is_an_error_though_nothing_failed(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo(), EMPTY)

    run_id = run(hub, instance, storage_url="file:///nowhere/at/all")

    found, line = {"STORAGE_UNAVAILABLE": 1}, "STORAGE_UNAVAILABLE 1"
    assert verdict(instance, trouble) == (False, ERROR, line, {"jobs_by_code": found})
    assert verdict(instance, refused_pushes)[0]
    assert tags(instance, run_id) == {
        "musehub/put_back": "1",
        "musehub/codes": "STORAGE_UNAVAILABLE",
    }


def test_what_a_dead_run_left_is_trouble_of_the_run_that_found_it(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    job_id = hub.push(hub.create_repo(), EMPTY)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'running', attempt = 1, run_id = 'dead',"
        " started_at = now(), lease_expires_at = now() - interval '1 s' WHERE job_id = %(id)s",
        {"id": job_id},
    )

    run(hub, instance)

    assert hub.job(job_id)["status"] == "done"
    found, line = {"LEASE_EXPIRED": 1}, "LEASE_EXPIRED 1"
    assert verdict(instance, trouble) == (False, ERROR, line, {"jobs_by_code": found})


def test_a_job_that_waited_too_long_is_a_warning(hub: Hub, instance: dg.DagsterInstance) -> None:
    job_id = hub.push(hub.create_repo(), EMPTY)
    hub.sql(
        "UPDATE musehub_background_jobs SET created_at = now() - interval '90 s'"
        " WHERE job_id = %(id)s",
        {"id": job_id},
    )

    run(hub, instance, queue_age_seconds=60)

    passed, severity, _, figures = verdict(instance, queue_age)
    assert (passed, severity, figures["most_seconds"]) == (False, WARN, 60)
    assert figures["oldest_seconds"] == pytest.approx(90, abs=30)


def test_a_run_without_a_job_says_nothing(hub: Hub, instance: dg.DagsterInstance) -> None:
    run_id = run(hub, instance)

    checks = (trouble, refused_pushes, queue_age)
    assert [evaluations(instance, check) for check in checks] == [[], [], []]
    assert tags(instance, run_id) == {}


def test_by_hand_the_checks_judge_the_queue_as_it_stands(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    refused, waits, dead = (hub.push(hub.create_repo(slug), EMPTY) for slug in "abc")
    later = "not_before = now() + interval '1 hour', created_at = now() - interval '1 hour'"
    for job_id, change in (
        (refused, "status = 'failed', error_code = 'BAD_ID', finished_at = now()"),
        (waits, f"error_code = 'INTERNAL_ERROR', {later}"),
        (dead, "status = 'running', lease_expires_at = now() - interval '1 s'"),
    ):
        hub.sql(
            f"UPDATE musehub_background_jobs SET {change} WHERE job_id = %(id)s", {"id": job_id}
        )

    by_hand(hub, instance)

    found, line = {"INTERNAL_ERROR": 1, "LEASE_EXPIRED": 1}, "INTERNAL_ERROR 1, LEASE_EXPIRED 1"
    assert verdict(instance, trouble) == (False, ERROR, line, {"jobs_by_code": found})
    found, line = {"BAD_ID": 1}, "BAD_ID 1"
    assert verdict(instance, refused_pushes) == (False, WARN, line, {"jobs_by_code": found})
    passed, _, _, figures = verdict(instance, queue_age)
    assert (passed, figures["oldest_seconds"]) == (False, pytest.approx(3600, abs=60))


def test_by_hand_all_that_is_stored_is_judged(hub: Hub, instance: dg.DagsterInstance) -> None:
    history = small_history()
    hub.index(hub.push(hub.create_repo(), history.mpack(), head=list(history.commits)[-1]))
    by_hand(hub, instance)
    sound = verdict(instance, fsck)

    hub.sql(
        "DELETE FROM musehub_object_refs"
        " WHERE object_id = (SELECT max(object_id) FROM musehub_object_refs)"
    )
    by_hand(hub, instance)

    assert sound[:3] == (True, ERROR, None)
    assert sound[3]["breaches_by_invariant"] == {}
    assert sound[3]["objects"] == 14
    newest = evaluations(instance, fsck)[0]
    assert (newest.passed, newest.description) == (False, "manifest_complete 1, mpack_indexed 1")
    assert newest.metadata["breaches_by_invariant"].value == {
        "manifest_complete": 1,
        "mpack_indexed": 1,
    }
