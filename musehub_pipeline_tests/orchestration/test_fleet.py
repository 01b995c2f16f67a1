"""Runs that wait on Redis: what it has forgotten is ended in Dagster, and asked for anew."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from musehub_pipeline.definitions import defs
from musehub_pipeline.orchestration.instance import LOCATION_TAG
from musehub_pipeline.orchestration.runs import TASK_TAG, InFlight, in_flight
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.test_launcher import ORIGIN
from musehub_pipeline_tests.servers.redis import Redis

LOCATION = "here"
INDEX_MPACKS = defs.get_job_def("index_mpacks")


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def instance(redis: Redis) -> Iterator[dg.DagsterInstance]:
    launcher = {
        "module": "musehub_pipeline.orchestration.fleet",
        "class": "FleetRunLauncher",
        "config": {
            "broker": redis.url,
            "backend": redis.url,
            "config_source": {"redis_socket_timeout": 1},
        },
    }
    with dg.DagsterInstance.local_temp(
        overrides={"run_launcher": launcher, "telemetry": {"enabled": False}}
    ) as instance:
        yield instance


@pytest.fixture
def services(hub: Hub) -> Iterator[Services]:
    with open_services(hub.settings) as services:
        yield services


def launched(instance: dg.DagsterInstance) -> str:
    """Put a run on Redis, where no worker is."""
    run = instance.create_run_for_job(
        INDEX_MPACKS, tags={LOCATION_TAG: LOCATION}, job_code_origin=ORIGIN
    )
    return instance.launch_run(run.run_id, None).run_id  # pyright: ignore[reportArgumentType]


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def look(services: Services, instance: dg.DagsterInstance) -> InFlight:
    return in_flight(services, instance, job_name="index_mpacks", locations=[LOCATION])


def test_celerys_tag_is_what_we_take_for_it() -> None:
    assert TASK_TAG == DAGSTER_CELERY_TASK_ID_TAG


def test_a_run_that_redis_forgot_is_ended_and_one_that_waits_there_is_not(
    services: Services, instance: dg.DagsterInstance, redis: Redis
) -> None:
    forgotten = launched(instance)
    assert look(services, instance) == InFlight(runs=1, unclaimed=1)

    redis.client.flushall()
    waiting = launched(instance)

    assert look(services, instance) == InFlight(runs=1, unclaimed=1)
    assert status(instance, forgotten) == dg.DagsterRunStatus.FAILURE
    assert status(instance, waiting) == dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize("goes", [Redis.stop, Redis.freeze])
def test_where_redis_is_away_nobody_says_that_it_forgot(
    services: Services, instance: dg.DagsterInstance, redis: Redis, goes: Callable[[Redis], None]
) -> None:
    run_id = launched(instance)

    goes(redis)

    assert look(services, instance) == InFlight(runs=1, unclaimed=1)
    assert status(instance, run_id) == dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize("of_a_command", [True, False])
def test_dagsters_monitor_leaves_a_run_at_work_alone_that_redis_does_not_know(
    instance: dg.DagsterInstance, redis: Redis, *, of_a_command: bool
) -> None:
    run = instance.create_run_for_job(INDEX_MPACKS, job_code_origin=ORIGIN)
    run_id = run.run_id if of_a_command else launched(instance)
    redis.client.flushall()
    run = instance.get_run_by_id(run_id)
    assert run is not None

    health = instance.run_launcher.check_run_worker_health(run)

    assert health.status == WorkerStatus.RUNNING
