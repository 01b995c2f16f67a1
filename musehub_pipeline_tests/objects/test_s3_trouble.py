"""S3 that cannot be reached or refuses: transient, and said in one line without a secret."""

import socket
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.storage_client import S3Options
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.objects.packing import packed
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


def test_one_storage_serves_many_threads_that_are_its_first(ceph_s3: S3Server) -> None:
    there = s3_settings(Settings.load(), ceph_s3)
    contents = [b"%d" % number for number in range(100)]

    with ObjectStorage(str(there.storage_url), s3=there.s3, threads=64) as storage:
        count = storage.put_objects(*packed(*contents))

    assert count.objects == 100
    assert sorted(Hub(there).stored_objects().values()) == sorted(contents)
