"""Each server of the tests answers like the service it stands for, and goes when it should."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError
from obstore.store import S3Store

from musehub_pipeline_tests.servers.ceph import CephS3, missing_packages
from musehub_pipeline_tests.servers.moto import MotoS3, S3Server
from musehub_pipeline_tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("servers")]

BUCKET = "test-servers"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def ceph() -> Iterator[CephS3]:
    skip_without_ceph()
    with CephS3() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with MotoS3() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture(params=["moto", "ceph"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    server: S3Server = request.getfixturevalue(request.param)
    for name, value in server.aws_environment().items():
        monkeypatch.setenv(name, value)
    return server


def skip_without_ceph() -> None:
    """Let Ceph be absent from a developer's machine, but not from CI."""
    if missing_packages() and not os.environ.get("CI"):
        pytest.skip(f"not installed: {' '.join(missing_packages())}")


def store(bucket: str = BUCKET, **config: Any) -> S3Store:
    """Open a bucket by nothing but the environment, as the pipeline does."""
    return S3Store(bucket, client_options={"allow_http": True}, **config)


def test_what_was_put_can_be_read_and_listed(s3: S3Server) -> None:
    bucket = store()

    bucket.put("read/one", b"first", mode="create")
    bucket.put("read/two", b"", mode="create")

    assert bytes(bucket.get("read/one").bytes()) == b"first"
    found = [(meta["path"], meta["size"]) for page in bucket.list("read") for meta in page]
    assert sorted(found) == [("read/one", 5), ("read/two", 0)]


def test_create_refuses_what_exists_and_keeps_the_first_bytes(s3: S3Server) -> None:
    bucket = store()
    bucket.put("create", b"first", mode="create")

    with pytest.raises(AlreadyExistsError):
        bucket.put("create", b"second", mode="create")

    assert bytes(bucket.get("create").bytes()) == b"first"


def test_an_absent_object_is_not_found(s3: S3Server) -> None:
    with pytest.raises(FileNotFoundError):
        store().get("absent")


def test_an_absent_bucket_is_an_error_even_to_list(s3: S3Server) -> None:
    bucket = store("absent")

    with pytest.raises(FileNotFoundError):
        bucket.get("any")
    with pytest.raises(FileNotFoundError):
        bucket.put("any", b"bytes", mode="create")
    with pytest.raises(GenericError, match="NoSuchBucket"):
        list(bucket.list())


def test_ceph_refuses_a_wrong_secret(ceph: CephS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ceph.aws_environment().items():
        monkeypatch.setenv(name, value)
    stranger = store(secret_access_key="wrong")

    with pytest.raises(PermissionDeniedError):
        stranger.put("secret", b"bytes", mode="create")

    with pytest.raises(FileNotFoundError):
        store().get("secret")


def test_a_database_is_cloned_from_a_template(postgres: Postgres) -> None:
    template = postgres.create_database("template")
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE words AS SELECT 'größe' AS word")

    clone = postgres.create_database("clone", template="template")

    with psycopg.connect(clone) as connection:
        connection.execute("INSERT INTO words VALUES ('clone')")
    assert words(clone) == ["größe", "clone"]
    assert words(template) == ["größe"]


def words(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def test_a_database_is_dropped_while_it_is_used(postgres: Postgres) -> None:
    url = postgres.create_database("used")
    user = psycopg.connect(url)

    postgres.drop_database("used")
    postgres.drop_database("used")

    with pytest.raises(psycopg.OperationalError, match="terminat"):
        user.execute("SELECT 1")
    user.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_sqlalchemy_takes_the_same_url(postgres: Postgres) -> None:
    url = sqlalchemy.make_url(postgres.create_database("alchemy"))
    engine = sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"))

    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == "alchemy"
    engine.dispose()


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_only_a_durable_server_syncs_and_nothing_is_left_of_it(durable: bool, fsync: str) -> None:
    with Postgres(durable=durable) as server:
        folder = server._folder
        with psycopg.connect(server.url("postgres")) as connection:
            assert connection.execute("SHOW fsync").fetchone() == (fsync,)

    assert not folder.exists()
    assert server._process.returncode is not None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel tells a child")
@pytest.mark.parametrize(("module", "name"), [("postgres", "Postgres"), ("ceph", "CephS3")])
def test_a_server_dies_with_a_process_that_is_killed(module: str, name: str) -> None:
    if name == "CephS3":
        skip_without_ceph()
    script = (
        f"from musehub_pipeline_tests.servers.{module} import {name} as Server\n"
        "server = Server().__enter__()\n"
        "print(server._folder, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        folder = parent.stdout.readline().strip()
        assert folder
        children = psutil.Process(parent.pid).children(recursive=True)
        assert children
        parent.send_signal(signal.SIGKILL)

    try:
        assert all_gone(children, within_seconds=120)
    finally:
        shutil.rmtree(folder)


def all_gone(processes: list[psutil.Process], *, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while any(map(is_alive, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
