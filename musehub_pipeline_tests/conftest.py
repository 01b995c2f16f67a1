"""The services that tests run on: one server of each kind a session, a fresh database a test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers import ceph, debian
from musehub_pipeline_tests.servers.moto import MotoS3, S3Server
from musehub_pipeline_tests.servers.postgres import Postgres

_TEMPLATE = "template_musehub"


def pytest_configure() -> None:
    """Heed Ctrl-C, which a shell has ignored by what it starts in the background.

    Whatever a process ignores, all that it starts ignores too, and some tests send it on purpose.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("MUSEHUB_", "AWS_", "DAGSTER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, with a template that has the tables."""
    with Postgres() as server:
        with Database(server.create_database(_TEMPLATE)) as database:
            migrate.upgrade(database)
        yield server


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A database without any table."""
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A database with the tables, empty."""
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name, _TEMPLATE)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Server]:
    """The quick S3 server."""
    with MotoS3() as server:
        yield server


@pytest.fixture(scope="session")
def ceph_s3() -> Iterator[S3Server]:
    """The real S3 server: checks signatures, has atomic create-only puts."""
    debian.require(ceph.missing_packages())
    with ceph.CephS3() as server:
        yield server


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for a database of the test's own and a directory as storage."""
    (tmp_path / "store").mkdir()
    return Settings.load(
        {
            "home": tmp_path / "home",
            "database_url": database_url,
            "storage_url": (tmp_path / "store").as_uri(),
        }
    )


def s3_settings(settings: Settings, server: S3Server) -> Settings:
    """Return `settings` with a new bucket on `server` as storage."""
    bucket = f"test-{uuid4().hex}"
    server.create_bucket(bucket)
    return settings.model_copy(
        update={
            "storage_url": f"s3://{bucket}/some/prefix",
            "endpoint_url": server.endpoint_url,
            "region_name": "us-east-1",
            "aws_access_key_id": server.access_key,
            "aws_secret_access_key": server.secret_key,
        }
    )


@pytest.fixture
def hub(settings: Settings) -> Hub:
    """A hub on a directory."""
    return Hub(settings)


@pytest.fixture(params=["directory", "moto", "ceph"])
def any_hub(request: pytest.FixtureRequest, settings: Settings) -> Hub:
    """A hub on each kind of storage in turn."""
    if request.param == "directory":
        return Hub(settings)
    return Hub(s3_settings(settings, request.getfixturevalue(f"{request.param}_s3")))
