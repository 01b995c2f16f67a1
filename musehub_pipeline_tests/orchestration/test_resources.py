"""Dagster's resource: what its fields say wins, what they leave out the environment says."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.orchestration.instance import use_dagster_home
from musehub_pipeline.orchestration.resources import MusehubResource
from musehub_pipeline.phases.services import Services
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.moto import S3Server

URLS = ("database_url", "storage_url")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "home"))


def urls(hub: Hub) -> dict[str, Any]:
    return {name: getattr(hub.settings, name) for name in URLS}


def push(hub: Hub) -> str:
    return hub.push(hub.create_repo(), small_history().mpack())


def run(resource: MusehubResource, instance: dg.DagsterInstance, **config: Any) -> list[Any]:
    """Run the job as Dagster does, and return the results that it gives."""
    job = build_defs(musehub=resource).get_job_def("index_mpacks")
    done = job.execute_in_process(run_config=config, instance=instance)
    return done.output_for_node("summarize")


def services_of(resource: MusehubResource) -> Services:
    with (
        dg.build_init_resource_context() as context,
        resource.yield_for_execution(context) as services,
    ):
        return services


def test_its_fields_say_where_everything_is(hub: Hub, instance: dg.DagsterInstance) -> None:
    job_id = push(hub)

    [result] = run(MusehubResource(**urls(hub)), instance)

    assert result == hub.job(job_id)["result"]


def test_what_they_leave_out_is_read_when_the_run_starts(
    hub: Hub, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = push(hub)
    resource = MusehubResource()
    for name, value in urls(hub).items():
        monkeypatch.setenv(f"MUSEHUB_{name.upper()}", value)

    [result] = run(resource, instance)

    assert result["job_id"] == job_id


def test_a_field_wins_over_the_environment(
    hub: Hub, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = push(hub)
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", "postgresql:///none?host=/no/such/folder")
    monkeypatch.setenv("STORAGE", str(hub.settings.storage_url))
    resource = MusehubResource(
        database_url=hub.settings.database_url, storage_url=dg.EnvVar("STORAGE")
    )

    [result] = run(resource, instance)

    assert result["job_id"] == job_id


def test_the_configuration_of_a_run_wins_over_the_field(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    job_id = push(hub)
    resource = MusehubResource(database_url="postgresql:///none?host=/no/such/folder")

    [result] = run(resource, instance, resources={"musehub": {"config": urls(hub)}})

    assert result["job_id"] == job_id


def test_its_s3_fields_lead_to_a_server(
    hub: Hub, instance: dg.DagsterInstance, moto_s3: S3Server
) -> None:
    on_s3 = Hub(s3_settings(hub.settings, moto_s3))
    job_id = push(on_s3)

    [result] = run(
        MusehubResource(
            **urls(on_s3),
            endpoint_url=moto_s3.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=moto_s3.access_key,
            aws_secret_access_key=moto_s3.secret_key,
        ),
        instance,
    )

    assert result["job_id"] == job_id
    assert len(on_s3.stored_objects()) == 14


@pytest.mark.parametrize(
    "field", [{"use_ssl": False}, {"verify": False}, {"use_unsigned_session": True}], ids=str
)
def test_each_field_of_an_s3_resource_can_be_set(hub: Hub, field: dict[str, Any]) -> None:
    assert services_of(MusehubResource(**urls(hub), **field))


def test_attempts_of_a_request_are_not_attempts_of_a_job(hub: Hub) -> None:
    services = services_of(MusehubResource(**urls(hub), max_attempts=2))

    assert services.settings.max_attempts == hub.settings.max_attempts == 30


@pytest.mark.parametrize("name", ["ENDPOINT_URL", "REGION_NAME", "PROFILE_NAME"])
def test_variables_of_other_programs_are_not_read(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "none-of-ours")

    assert "none-of-ours" not in repr(Settings.load())


def test_a_url_that_is_not_valid_is_named(hub: Hub) -> None:
    with pytest.raises(SettingsError, match=r"^MUSEHUB_STORAGE_URL: 'ftp://x' is"):
        services_of(MusehubResource(**urls(hub) | {"storage_url": "ftp://x"}))


def test_the_scratch_folder_lives_as_long_as_the_services(hub: Hub) -> None:
    resource = MusehubResource(**urls(hub))
    with (
        dg.build_init_resource_context() as context,
        resource.yield_for_execution(context) as services,
    ):
        scratch = services.scratch
        assert scratch.parent == hub.settings.home / "scratch"
        assert scratch.is_dir()

    assert not scratch.exists()


def test_a_dagster_home_of_the_users_own_is_left_alone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "own"))

    (tmp_path / "own").mkdir()

    assert use_dagster_home(hub.settings) == tmp_path / "own"
    assert list((tmp_path / "own").iterdir()) == []
    assert not (hub.settings.home / "dagster").exists()
