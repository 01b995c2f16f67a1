"""No secret of the settings is shown, whatever prints them or complains about them."""

import pytest
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.hub import Hub

SECRET = "hush-hush"
SECRETS = {
    "MUSEHUB_DATABASE_URL": "postgresql://ada:hush-hush@db.example.org/hub",
    "MUSEHUB_DAGSTER_DATABASE_URL": "postgresql://ada:hush-hush@db.example.org/dagster",
    "AWS_ACCESS_KEY_ID": "hush-hush",
    "AWS_SECRET_ACCESS_KEY": "hush-hush",
    "AWS_SESSION_TOKEN": "hush-hush",
    "AWS_ENDPOINT_URL": "https://ada:hush-hush@s3.example.org",
    "AWS_ENDPOINT_URL_S3": "https://ada:hush-hush@s3.example.org",
}


def test_services_show_no_secret_of_their_settings(hub: Hub) -> None:
    url = make_url(str(hub.settings.database_url)).set(password=SECRET)
    with_password = url.render_as_string(hide_password=False)
    settings = hub.settings.model_copy(
        update={
            "database_url": with_password,
            "dagster_database_url": with_password,
            "aws_access_key_id": SECRET,
            "aws_secret_access_key": SECRET,
            "aws_session_token": SECRET,
        }
    )

    with open_services(settings) as services:
        assert services.settings == settings
        assert repr(settings) in repr(services)
        shown = f"{services} {services!r} {settings} {settings!r}"

    assert SECRET not in shown


@pytest.mark.parametrize("variable", SECRETS)
@pytest.mark.parametrize("shown", ["settings", "s3"])
def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch, variable: str, shown: str) -> None:
    monkeypatch.setenv(variable, SECRETS[variable])
    settings = Settings.load()

    thing = settings if shown == "settings" else settings.s3
    assert "hush-hush" not in f"{thing} {thing!r}"


def test_no_secret_is_shown_where_another_value_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "0")

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["ada:hush-hush@s3.example.org", "https://ada:hush-hush@:port", "s3://ada:hush/hush-hush@host"],
)
def test_an_endpoint_that_is_none_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)

    with pytest.raises(SettingsError, match=r"^AWS_ENDPOINT_URL: ") as caught:
        Settings.load()

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://ada:hush-hush@host:port/hub", "mysql://ada:hush-hush@host/hub"]
)
def test_a_url_that_is_not_valid_does_not_show_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", url)

    with pytest.raises(SettingsError, match=r"^MUSEHUB_DATABASE_URL: ") as caught:
        Settings.load()

    assert "hush-hush" not in str(caught.value)
