"""Runs that died are ended in Dagster, of whatever kind they are; nobody else's are."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from musehub_pipeline.orchestration.assets import MPACK_INDEX
from musehub_pipeline.orchestration.checks import phase_budgets
from musehub_pipeline.orchestration.instance import LOCATION_TAG, OUR_TAGS, code_locations
from musehub_pipeline.orchestration.runs import InFlight, in_flight
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline_tests.hub import Hub

LEASE_SECONDS = 1
STARTED = dg.DagsterRunStatus.STARTED
FAILURE = dg.DagsterRunStatus.FAILURE

Look = Callable[[], InFlight]


@pytest.fixture
def services(hub: Hub) -> Iterator[Services]:
    settings = hub.settings.model_copy(update={"lease_seconds": LEASE_SECONDS})
    with open_services(settings) as services:
        yield services


@pytest.fixture
def look(services: Services, instance: dg.DagsterInstance) -> Look:
    return lambda: in_flight(
        services, instance, job_name="index_mpacks", locations=code_locations("here")
    )


@dg.asset_check(asset=MPACK_INDEX.key)
def somebody_elses() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def check_by_hand(instance: dg.DagsterInstance, check: dg.AssetChecksDefinition) -> str:
    """Have Dagster know a run of one check that somebody has chosen in the UI."""
    return run_of(instance, "__ASSET_JOB", asset_check_selection=check.check_keys)


def run_of(
    instance: dg.DagsterInstance,
    job_name: str,
    *,
    location: str = "here",
    status: dg.DagsterRunStatus = STARTED,
    **selection: Any,
) -> str:
    run = dg.DagsterRun(
        job_name=job_name,
        run_id=str(uuid4()),
        status=status,
        tags={LOCATION_TAG: location},
        **selection,
    )
    return instance.run_storage.add_run(run).run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_that_never_said_a_word_is_ended_after_a_lease(
    instance: dg.DagsterInstance, look: Look
) -> None:
    runs = [
        run_of(instance, "index_mpacks"),
        run_of(instance, "backfill_mpacks"),
        run_of(instance, "prune_history"),
        check_by_hand(instance, phase_budgets),
    ]
    assert look() == InFlight(runs=1, unclaimed=1)
    assert {status(instance, run_id) for run_id in runs} == {STARTED}

    time.sleep(1.2 * LEASE_SECONDS)

    assert look() == InFlight(runs=0, unclaimed=0)
    assert {status(instance, run_id) for run_id in runs} == {FAILURE}


def test_a_run_that_has_begun_its_heartbeat_lives(
    services: Services, instance: dg.DagsterInstance, look: Look
) -> None:
    run_id = run_of(instance, "prune_history")
    look()
    services.heartbeat.begin(run_id)

    time.sleep(1.5 * LEASE_SECONDS)
    look()

    assert status(instance, run_id) == STARTED


@pytest.mark.parametrize("job_name", ["index_mpacks", "backfill_mpacks", "prune_history"])
def test_a_run_of_another_code_location_is_left_alone_and_not_counted(
    instance: dg.DagsterInstance, look: Look, job_name: str
) -> None:
    run_id = run_of(instance, job_name, location="elsewhere")
    assert look() == InFlight(runs=0, unclaimed=0)

    time.sleep(1.2 * LEASE_SECONDS)
    look()

    assert status(instance, run_id) == STARTED


def test_a_run_of_a_command_is_ours_too(instance: dg.DagsterInstance, look: Look) -> None:
    run_of(instance, "index_mpacks", location=OUR_TAGS[LOCATION_TAG])

    assert look() == InFlight(runs=1, unclaimed=1)


def test_a_run_of_somebody_elses_check_is_left_alone(
    instance: dg.DagsterInstance, look: Look
) -> None:
    run_id = check_by_hand(instance, somebody_elses)
    look()

    time.sleep(1.2 * LEASE_SECONDS)
    look()

    assert status(instance, run_id) == STARTED


def test_a_dead_run_is_found_behind_however_many_that_wait(
    instance: dg.DagsterInstance, look: Look
) -> None:
    dead = run_of(instance, "backfill_mpacks")
    for _ in range(1_001):
        run_of(instance, "backfill_mpacks", status=dg.DagsterRunStatus.NOT_STARTED)
    look()

    time.sleep(1.2 * LEASE_SECONDS)
    look()

    assert status(instance, dead) == FAILURE
