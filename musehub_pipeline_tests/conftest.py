"""The services that tests run on: one server of each kind a session, a fresh database a test."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.hub import Hub, disconnect
from musehub_pipeline_tests.servers import ceph, debian
from musehub_pipeline_tests.servers.moto import MotoS3, S3Server
from musehub_pipeline_tests.servers.postgres import Postgres

SHARED = {"ceph_s3", "demo", "warm", "busy"}
"""Fixtures that take long to start: all that need one are left to one worker."""

TEMPLATE = "template_musehub"
"""The database that has the tables."""

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Have three processes for two cores: those that test Dagster's mostly wait for them."""
    cores = os.cpu_count() or 1
    return cores + (cores + 1) // 2 if config.option.numprocesses == "auto" else None


def pytest_configure() -> None:
    _heed_ctrl_c()
    _keep_files_in_memory()


def _heed_ctrl_c() -> None:
    """Heed Ctrl-C, which a shell has ignored by what it starts in the background.

    Whatever a process ignores, all that it starts ignores too, and some tests send it on purpose.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_files_in_memory() -> None:
    """Have all temporary files in memory, where there is such a place and no other was asked for.

    Each test has a database of its own, which is three hundred files.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    runs_programs = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    if runs_programs and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        for shared in SHARED.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(shared))
    yield  # others look at the marks, and put all into a random order
    # What takes longest begins, so that in the end no worker waits for another.
    items.sort(key=lambda item: "acceptance" not in item.path.parts)


@contextmanager
def bare_environment() -> Iterator[None]:
    """Let nothing see the settings of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MUSEHUB_", "AWS_", "DAGSTER_")):
                patch.delenv(name)
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("MUSEHUB_READ_AGAIN_SECONDS", "0")  # the first look counts
        yield


@pytest.fixture(autouse=True)
def _bare_environment() -> Iterator[None]:
    with bare_environment():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, with a template that has the tables."""
    with Postgres() as server:
        with Database(server.create_database(TEMPLATE)) as database:
            migrate.upgrade(database)
        yield server


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A database without any table."""
    name = f"test_{uuid4().hex}"
    yield (url := postgres.create_database(name))
    disconnect(url)
    postgres.drop_database(name)


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A database with the tables, empty."""
    name = f"test_{uuid4().hex}"
    yield (url := postgres.create_database(name, TEMPLATE))
    disconnect(url)
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
    return settings_of(database_url, tmp_path)


def settings_of(database_url: str, folder: Path) -> Settings:
    """Return settings for a database; all files are in a folder."""
    (folder / "store").mkdir()
    return Settings.load(
        {
            "home": folder / "home",
            "database_url": database_url,
            "storage_url": (folder / "store").as_uri(),
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


MOTO = pytest.param("moto", marks=pytest.mark.slow)
CEPH = pytest.param("ceph", marks=[pytest.mark.slow, pytest.mark.xdist_group("ceph_s3")])


@pytest.fixture(params=["directory", MOTO, CEPH])
def any_hub(request: pytest.FixtureRequest, settings: Settings) -> Hub:
    """A hub on each kind of storage in turn."""
    if request.param == "directory":
        return Hub(settings)
    return Hub(s3_settings(settings, request.getfixturevalue(f"{request.param}_s3")))
