"""What the phases carry about shows no secret, whatever prints it."""

from sqlalchemy import make_url

from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.hub import Hub

SECRET = "hush-hush"


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
