"""The sensor: one tick at a time, on a real queue and a real instance."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.instance import LOCATION_TAG, OUR_TAGS
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline.orchestration.sensor import pending_mpacks_sensor
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def services(hub: Hub) -> Iterator[Services]:
    settings = hub.settings.model_copy(update={"batch_jobs": 2, "lease_seconds": 1})
    with open_services(settings) as services:
        yield services


def tick(
    hub: Hub,
    services: Services,
    instance: dg.DagsterInstance,
    *,
    wait_seconds: float = 0,
    log: logging.Handler | None = None,
) -> list[dg.RunRequest] | str:
    """Evaluate the sensor once; return what it requests, or why it skips."""
    job = build_defs(musehub=fixed_resource(hub.settings)).get_job_def("index_mpacks")
    context = dg.build_sensor_context(instance=instance, resources={"musehub": services})
    context.log.addHandler(log or logging.NullHandler())
    found = pending_mpacks_sensor(job, wait_seconds=wait_seconds)(context)
    if isinstance(found, dg.SkipReason):
        return str(found.skip_message)
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or [])


def add_run(instance: dg.DagsterInstance, hub: Hub, status: dg.DagsterRunStatus) -> str:
    """Have Dagster know a run in that status, and return its id."""
    job = build_defs(musehub=fixed_resource(hub.settings)).get_job_def("index_mpacks")
    return instance.create_run_for_job(job, status=status, tags=OUR_TAGS).run_id


def test_with_nothing_to_do_it_says_so_in_numbers(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    assert tick(hub, services, instance) == ("0 jobs pending, 0 due, 0 running; 0 runs in flight")


def test_it_needs_no_scratch(hub: Hub, instance: dg.DagsterInstance) -> None:
    settings = hub.settings.model_copy(update={"scratch_dir": Path("/dev/null/scratch")})
    hub.enqueue("repo-a")

    with open_services(settings) as services:
        assert len(tick(hub, services, instance)) == 1


def test_a_lone_push_is_requested_with_its_names(
    hub: Hub,
    services: Services,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job_id = hub.enqueue("repo-a")

    [request] = tick(hub, services, instance, log=caplog.handler)

    [line] = caplog.messages
    assert re.fullmatch(
        r"1 jobs pending, the oldest for \d+ s, 1 due, 0 running; 0 runs in flight; 1 requested",
        line.rpartition(" - ")[2],
    )

    assert isinstance(request, dg.RunRequest)
    assert request.run_key is not None
    assert request.run_key.startswith(f"{job_id}:0:")
    assert request.tags["musehub/job"] == job_id
    assert request.tags["musehub/repo"] == "repo-a"
    assert request.tags["musehub/queue_depth"] == "1"


def test_runs_that_have_not_claimed_are_not_requested_again(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    for number in range(5):
        hub.enqueue(f"repo-{number}")
    assert len(tick(hub, services, instance)) == 3
    add_run(instance, hub, dg.DagsterRunStatus.NOT_STARTED)
    working = add_run(instance, hub, dg.DagsterRunStatus.STARTED)
    assert len(tick(hub, services, instance)) == 1

    services.runs.begin(working, claims=True)
    assert len(services.queue.claim(run_id=working, limit=2)) == 2

    assert len(tick(hub, services, instance)) == 1


def test_a_run_that_a_worker_is_about_to_begin_is_not_requested(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    hub.enqueue("repo-a")
    assert services.queue.reserve(run_id="beside", batch_jobs=200)

    seen = tick(hub, services, instance)

    assert isinstance(seen, str)
    assert seen.endswith("1 due, 0 running; 0 runs in flight")


def test_a_push_during_the_tick_is_seen_at_once(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    pushing = threading.Timer(0.5, hub.enqueue, ["repo-a"])
    pushing.start()
    started = time.monotonic()

    requests = tick(hub, services, instance, wait_seconds=30)

    assert len(requests) == 1
    assert time.monotonic() - started < 4  # sooner than it would look again by itself
    pushing.join()


def test_a_pause_that_ends_during_the_tick_is_seen(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    hub.enqueue("repo-a")
    hub.sql("UPDATE musehub_background_jobs SET not_before = now() + interval '1 second'")

    assert len(tick(hub, services, instance, wait_seconds=30)) == 1


def test_a_run_that_died_is_closed_and_its_job_requested_anew(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    job_id = hub.push(hub.create_repo(), small_history().mpack())
    run_id = add_run(instance, hub, dg.DagsterRunStatus.STARTED)
    services.runs.begin(run_id, claims=True)
    services.queue.claim(run_id=run_id, limit=2)
    assert tick(hub, services, instance) == "0 jobs pending, 0 due, 1 running; 1 runs in flight"

    [request] = tick(hub, services, instance, wait_seconds=10)

    assert isinstance(request, dg.RunRequest)
    assert str(request.run_key).startswith(f"{job_id}:1:")
    tick(hub, services, instance)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert hub.job(job_id)["error_code"] == "LEASE_EXPIRED"
    said = [entry.message for entry in instance.all_logs(run_id)]
    again = f"🔁 [mpack.index] pending again job={job_id} repo=repo-song code=LEASE_EXPIRED"
    assert [line for line in said if line.startswith(again)] == said[:1]


def test_it_looks_at_the_runs_of_its_own_code_location(
    hub: Hub, services: Services, instance: dg.DagsterInstance
) -> None:
    job = build_defs(musehub=fixed_resource(hub.settings)).get_job_def("index_mpacks")
    for location in ("musehub_pipeline", "here", "elsewhere"):
        tags = {LOCATION_TAG: f"__repository__@{location}"}
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED, tags=tags)
    context = dg.SensorEvaluationContext(
        instance_ref=None,
        instance=instance,
        repository_name="__repository__",
        code_location_origin=GrpcServerCodeLocationOrigin("localhost", 1, location_name="here"),
        resources={"musehub": dg.ResourceDefinition.hardcoded_resource(services)},
    )

    found = pending_mpacks_sensor(job, wait_seconds=0)(context)

    assert isinstance(found, dg.SkipReason)
    assert str(found.skip_message).endswith("; 2 runs in flight")


def test_sensor_and_schedule_run_by_default() -> None:
    definitions = build_defs()

    [sensor] = definitions.sensors or []
    [schedule] = definitions.schedules or []
    assert isinstance(sensor, dg.SensorDefinition)
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (sensor.name, sensor.default_status.value) == ("pending_mpacks", "RUNNING")
    assert (schedule.job_name, schedule.default_status.value) == ("prune_history", "RUNNING")
