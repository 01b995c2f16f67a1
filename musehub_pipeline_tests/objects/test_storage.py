"""Storage as a whole: what its URL may be, and what is said where it is not there."""

from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import SettingsError, Transient
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.storage_client import (
    StorageUrl,
    parse_endpoint_url,
    parse_storage_url,
)
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.objects.packing import LARGE, hex_of, packed


@pytest.mark.parametrize(
    "request_name",
    ["fetch", "list", "put small", "put large", "put mpack", "read back", "heal", "delete"],
)
def test_a_bucket_or_directory_that_is_missing_is_transient_and_said(
    any_hub: Hub, tmp_path: Path, request_name: str
) -> None:
    url = str(any_hub.settings.storage_url)
    missing = tmp_path.as_uri() + "/absent" if url.startswith("file:") else "s3://absent/prefix"
    (tmp_path / "mpack").write_bytes(b"mpack")
    requests = {
        "fetch": lambda storage: storage.fetch_mpack("f" * 64, tmp_path / "fetched", limit=1 << 30),
        "list": lambda storage: list(storage.stored_objects()),
        "put small": lambda storage: storage.put_objects(*packed(b"small")),
        "put large": lambda storage: storage.put_objects(*packed(LARGE)),
        "put mpack": lambda storage: storage.put_mpack(tmp_path / "mpack", hex_of(b"mpack")),
        "read back": lambda storage: storage.read_back([bytes(32)]),
        "heal": lambda storage: storage.heal_objects(*packed(b"small")),
        "delete": lambda storage: storage.delete_objects([bytes(32)]),
    }

    with (
        ObjectStorage(missing, s3=any_hub.settings.s3) as storage,
        pytest.raises(Transient) as caught,
    ):
        requests[request_name](storage)

    assert caught.value.code.value == "STORAGE_UNAVAILABLE"
    assert caught.value.message.startswith(f"{missing}: ")
    assert caught.value.message.endswith("does not exist")
    assert "\n" not in caught.value.message
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", StorageUrl(bucket="bucket")),
        ("s3://bucket/", StorageUrl(bucket="bucket")),
        ("s3://bucket/some/prefix/", StorageUrl(bucket="bucket", prefix="some/prefix")),
        ("file:///var/lib/a%20b", StorageUrl(directory=Path("/var/lib/a b"))),
    ],
)
def test_a_storage_url_is_a_bucket_or_a_directory(url: str, place: StorageUrl) -> None:
    assert parse_storage_url(url) == place


@pytest.mark.parametrize(
    "url",
    ["", "/var/lib", "s3://", "s3:///prefix", "file://", "file://host/dir", "file:dir", "gs://b"],
)
def test_any_other_url_is_an_error_that_names_the_variable(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^MUSEHUB_STORAGE_URL: "):
        parse_storage_url(url)


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("HTTPS://S3.example.org/some/path", "https://S3.example.org/some/path"),
        ("https://[::1]:9000/", "https://[::1]:9000/"),
        ("https://ada:p@ss@s3.example.org", "https://s3.example.org"),
    ],
)
def test_an_endpoint_is_a_server_without_a_login(url: str, parsed: str) -> None:
    assert parse_endpoint_url(url) == parsed


@pytest.mark.parametrize(
    "url",
    ["", "minio:9000", "s3.example.org", "http://", "https:///path", "http://h:port", "http://a b"],
)
def test_no_other_endpoint_reaches_the_client(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^AWS_ENDPOINT_URL: "):
        parse_endpoint_url(url)
