"""S3 that cannot be reached or refuses: transient, and said in one line without a secret."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.storage_client import S3Options
from musehub_pipeline.objects.stored_objects import PutCount
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.objects.packing import LARGE, hex_of, key_of, packed
from musehub_pipeline_tests.servers import debian
from musehub_pipeline_tests.servers.faults import blind, secretive
from musehub_pipeline_tests.servers.faulty_s3 import FaultyS3, sound
from musehub_pipeline_tests.servers.moto import S3Server


def requests_of(url: str, s3: S3Options, scratch: Path) -> list[Transient]:
    """Return what each kind of request ends with."""
    (scratch / "mpack").write_bytes(b"mpack")
    with ObjectStorage(url, s3=s3) as storage:
        troubles = []
        for work in (
            lambda: storage.find_mpacks(["f" * 64]),
            lambda: storage.fetch_mpack("f" * 64, scratch / "fetched", limit=9),
            lambda: storage.put_objects(*packed(b"small")),
            lambda: storage.put_mpack(scratch / "mpack", "f" * 64),
        ):
            with pytest.raises(Transient) as caught:
                work()
            troubles.append(caught.value)
    return troubles


def assert_said_in_one_line(troubles: list[Transient], url: str) -> None:
    for trouble in troubles:
        assert trouble.code.value == "STORAGE_UNAVAILABLE"
        assert trouble.message.startswith(f"{url}: ")
        assert "\n" not in trouble.message
        assert "hush-hush" not in str(trouble)


@pytest.mark.parametrize("variable", [None, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_that_is_down_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    if variable:  # what is given wins
        monkeypatch.setenv(variable, "http://ada:hush-hush@127.0.0.1:1")
    s3 = S3Options(
        endpoint_url=f"http://ada:hush-hush@127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hush-hush",
        max_attempts=1,
    )

    troubles = requests_of("s3://bucket/prefix", s3, tmp_path)

    assert_said_in_one_line(troubles, "s3://bucket/prefix")
    assert all(f"127.0.0.1:{port}" in trouble.message for trouble in troubles)


@pytest.mark.parametrize("wrong", ["aws_secret_access_key", "aws_access_key_id"])
def test_credentials_that_are_wrong_are_transient(
    ceph_s3: S3Server, tmp_path: Path, wrong: str
) -> None:
    there = s3_settings(Settings.load(), ceph_s3)
    here = there.model_copy(update={wrong: "hush-hush"})

    troubles = requests_of(str(here.storage_url), here.s3, tmp_path)

    assert_said_in_one_line(troubles, str(here.storage_url))
    assert Hub(there).stored_objects() == {}


@pytest.mark.slow
def test_a_clock_that_is_wrong_is_told_from_rights(ceph_s3: S3Server) -> None:
    there = s3_settings(Settings.load(), ceph_s3)
    script = (
        "from pathlib import Path\n"
        "from musehub_pipeline.phases.services import open_objects\n"
        "from musehub_pipeline.settings import Settings\n"
        "with open_objects(Settings.load()) as objects:\n"
        "    objects.fetch_mpack('f' * 64, Path('none'), limit=9)\n"
    )
    variables = ceph_s3.aws_environment() | {"MUSEHUB_STORAGE_URL": str(there.storage_url)}

    ended = subprocess.run(
        [debian.program("faketime"), "-f", "+3600s", sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )

    error = ended.stderr.splitlines()[-1]
    assert error.endswith(f"/prefix: GET mpacks/{'f' * 64}: RequestTimeTooSkewed")


def test_one_storage_serves_many_threads_that_are_its_first(ceph_s3: S3Server) -> None:
    there = s3_settings(Settings.load(), ceph_s3)
    contents = [b"%d" % number for number in range(100)]

    with ObjectStorage(str(there.storage_url), s3=there.s3, threads=64) as storage:
        count = storage.put_objects(*packed(*contents))

    assert count.objects == 100
    assert sorted(Hub(there).stored_objects().values()) == sorted(contents)


def test_a_client_that_is_told_to_put_without_conditions_asks_first(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = s3_settings(Settings.load(), moto_s3)
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    obstore.put(Hub(there).store, key_of(b"there"), b"THERE")

    with ObjectStorage(str(there.storage_url), s3=there.s3) as storage:
        count = storage.put_objects(*packed(b"there", b"new"))

    assert count == PutCount(1, 3)
    assert sorted(Hub(there).stored_objects().values()) == [b"THERE", b"new"]
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert " knows no create-only put " in warning.getMessage()


@pytest.fixture
def faulty(moto_s3: S3Server) -> Iterator[tuple[FaultyS3, Settings]]:
    """A way to S3, and the settings by which it is gone."""
    with FaultyS3(moto_s3, sound) as way:
        there = s3_settings(Settings.load(), moto_s3)
        yield way, there.model_copy(update={"endpoint_url": way.endpoint_url})


def test_what_is_denied_is_never_taken_for_missing(
    faulty: tuple[FaultyS3, Settings], tmp_path: Path
) -> None:
    way, here = faulty
    way.fault = secretive
    with ObjectStorage(str(here.storage_url), s3=here.s3) as storage:
        for read in (
            lambda: storage.find_mpacks(["f" * 64]),
            lambda: storage.fetch_mpack("f" * 64, tmp_path / "fetched", limit=9),
            lambda: storage.read_back([bytes(32)]),
        ):
            with pytest.raises(Transient, match=r"403|AccessDenied: Access Denied \(") as caught:
                read()
            said = str(caught.value)
            assert "needed are s3:GetObject, s3:PutObject and s3:ListBucket" in said
            # An answer to HEAD has no body.
            assert ("credentials or the clock are wrong" in said) is (" HEAD mpacks/" in said)
        assert storage.mpack_size("f" * 64) is None  # reading it tells


@pytest.mark.parametrize(
    ("mpack", "replaced"), [(b"mpack", False), (LARGE, True)], ids=["small", "large"]
)
def test_who_may_only_put_can_push_twice(
    faulty: tuple[FaultyS3, Settings],
    moto_s3: S3Server,
    tmp_path: Path,
    mpack: bytes,
    replaced: bool,
) -> None:
    way, here = faulty
    way.fault = blind
    (tmp_path / "mpack").write_bytes(mpack)
    with ObjectStorage(str(here.storage_url), s3=here.s3) as storage:
        put = [storage.put_mpack(tmp_path / "mpack", hex_of(mpack)) for _ in range(2)]

    assert put == [True, replaced]
    there = here.model_copy(update={"endpoint_url": moto_s3.endpoint_url})
    assert bytes(Hub(there).store.get(f"mpacks/{hex_of(mpack)}").bytes()) == mpack


def test_an_object_that_nobody_may_see_is_not_replaced(
    faulty: tuple[FaultyS3, Settings], moto_s3: S3Server
) -> None:
    way, here = faulty
    there = here.model_copy(update={"endpoint_url": moto_s3.endpoint_url})
    obstore.put(Hub(there).store, key_of(b"there"), b"THERE")
    way.fault = blind

    with (
        ObjectStorage(str(here.storage_url), s3=here.s3) as storage,
        pytest.raises(Transient, match=r"HEAD .*needed are s3:GetObject"),
    ):
        storage.put_objects(*packed(b"there"))

    assert list(Hub(there).stored_objects().values()) == [b"THERE"]
