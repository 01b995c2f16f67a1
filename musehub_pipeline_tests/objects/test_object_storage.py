"""Object storage of each kind: what is found, what is written, and what trouble is called."""

import logging
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import obstore
import pytest

from musehub_pipeline.domain.errors import Rejection, SettingsError, Transient
from musehub_pipeline.domain.places import Place, Places
from musehub_pipeline.objects import object_storage
from musehub_pipeline.objects.object_storage import ObjectStorage, PutCount, StoredBytes
from musehub_pipeline.objects.storage_client import StorageUrl, parse_storage_url
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import CEPH, s3_settings
from musehub_pipeline_tests.domain.reading import Bytes
from musehub_pipeline_tests.hub import Hub

LARGE = bytes(range(256)) * 36_000  # two parts of a multipart upload
CONTENTS = (b"", b"a", b"tone" * 5000, LARGE, LARGE[:-1], *(b"%d" % n for n in range(20)))


def hex_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def key_of(content: bytes) -> str:
    return f"objects/{hex_of(content)[:2]}/{hex_of(content)}"


def packed(*contents: bytes) -> tuple[Bytes, Places]:
    """Return a file that holds the contents, and where each lies."""
    places = Places()
    offset = 5
    for content in contents:
        places.append(Place(sha256(content).digest(), offset, len(content)))
        offset += len(content)
    return Bytes(b"mpack" + b"".join(contents) + b"tail"), places


def stored(hub: Hub) -> dict[str, bytes]:
    return {object_id[-64:]: content for object_id, content in hub.stored_objects().items()}


@pytest.fixture(params=["directory", "moto", CEPH])
def any_hub(request: pytest.FixtureRequest, tmp_path: Path) -> Hub:
    """A hub's storage of each kind in turn; its database is not needed here."""
    (tmp_path / "store").mkdir()
    settings = Settings.load(
        {"home": tmp_path / "home", "storage_url": (tmp_path / "store").as_uri()}
    )
    if request.param == "directory":
        return Hub(settings)
    return Hub(s3_settings(settings, request.getfixturevalue(f"{request.param}_s3")))


@pytest.fixture
def storage(any_hub: Hub) -> Iterator[ObjectStorage]:
    with ObjectStorage(str(any_hub.settings.storage_url), s3=any_hub.settings.s3) as storage:
        yield storage


@pytest.mark.parametrize("mpack", [b"", b"mpack", LARGE], ids=len)
def test_a_mpack_is_fetched_whole(
    any_hub: Hub, storage: ObjectStorage, tmp_path: Path, mpack: bytes
) -> None:
    key = any_hub.upload(mpack)[-64:]

    assert storage.mpack_size(key) == len(mpack)
    file = storage.fetch_mpack(key, tmp_path / "fetched", limit=1 << 30)
    assert (file.size, file.read(0, len(mpack) + 1)) == (len(mpack), mpack)
    file.close()
    assert list(tmp_path.glob("fetched*")) == []


def test_a_mpack_that_is_not_there_is_a_rejection(storage: ObjectStorage, tmp_path: Path) -> None:
    assert storage.mpack_size("f" * 64) is None
    with pytest.raises(Rejection) as caught:
        storage.fetch_mpack("f" * 64, tmp_path / "fetched", limit=1 << 30)

    assert (caught.value.code.value, caught.value.message) == (
        "MPACK_MISSING",
        f"{storage.url}/mpacks/{'f' * 64} does not exist",
    )


@pytest.mark.parametrize("mpack", [b"mpack", LARGE], ids=len)
def test_a_mpack_over_the_limit_is_a_rejection_and_not_even_begun(
    any_hub: Hub, storage: ObjectStorage, tmp_path: Path, mpack: bytes
) -> None:
    key, size = any_hub.upload(mpack)[-64:], len(mpack)

    with pytest.raises(Rejection) as caught:
        storage.fetch_mpack(key, tmp_path / "fetched", limit=size - 1)

    assert (caught.value.code.value, caught.value.message) == (
        "MPACK_TOO_LARGE",
        f"{size} bytes, where {size - 1} are allowed",
    )
    assert not (tmp_path / "fetched").exists()
    assert storage.fetch_mpack(key, tmp_path / "fetched", limit=size).size == size


def test_bytes_that_are_not_those_of_the_key_are_a_rejection(
    any_hub: Hub, storage: ObjectStorage, tmp_path: Path
) -> None:
    obstore.put(any_hub.store, f"mpacks/{'f' * 64}", b"others")

    with pytest.raises(Rejection) as caught:
        storage.fetch_mpack("f" * 64, tmp_path / "fetched", limit=1 << 30)

    assert (caught.value.code.value, caught.value.message) == (
        "MPACK_HASH_MISMATCH",
        f"the 6 bytes at {storage.url}/mpacks/{'f' * 64} hash to {hex_of(b'others')}",
    )
    with pytest.raises(Transient, match=r"^STORAGE_UNAVAILABLE: the 6 bytes .*, not the 7$"):
        storage.fetch_mpack("f" * 64, tmp_path / "fetched", limit=1 << 30, expected=7)
    assert list(tmp_path.glob("fetched*")) == []


def test_a_scratch_folder_that_is_gone_is_no_fault_of_the_storage(
    any_hub: Hub, storage: ObjectStorage, tmp_path: Path
) -> None:
    key = any_hub.upload(b"mpack")[-64:]
    if str(any_hub.settings.storage_url).startswith("file:"):
        any_hub.date_mpack(key, settled=False)

    with pytest.raises(Transient) as caught:
        storage.fetch_mpack(key, tmp_path / "gone" / "fetched", limit=1 << 30)

    assert caught.value.code.value == "SCRATCH_UNAVAILABLE"


def test_a_mpack_in_a_directory_is_copied_only_where_it_may_still_be_written_to(
    tmp_path: Path,
) -> None:
    hub = Hub(Settings.load({"home": tmp_path / "home", "storage_url": tmp_path.as_uri()}))
    key = hub.upload(LARGE)[-64:]
    scratch = tmp_path / "fetched"
    with ObjectStorage(tmp_path.as_uri()) as storage:
        hub.date_mpack(key, settled=True)
        file = storage.fetch_mpack(key, scratch, limit=1 << 30)
        assert (file.read(0, len(LARGE)), scratch.exists()) == (LARGE, False)
        file.close()

        hub.date_mpack(key, settled=False)
        file = storage.fetch_mpack(key, scratch, limit=1 << 30)
        assert (file.read(0, len(LARGE)), scratch.exists()) == (LARGE, True)
        file.close()

    assert hub.mpack_file(key).read_bytes() == LARGE


@pytest.mark.parametrize("mpack", [b"", b"mpack", LARGE], ids=len)
def test_a_mpack_is_stored_once(any_hub: Hub, storage: ObjectStorage, mpack: bytes) -> None:
    path = Path(any_hub.settings.home).with_name("mpack")
    path.write_bytes(mpack)

    assert [storage.put_mpack(path, hex_of(mpack)) for _ in range(2)] == [True, False]
    assert bytes(any_hub.store.get(f"mpacks/{hex_of(mpack)}").bytes()) == mpack


def test_a_mpack_of_another_size_is_healed_and_reported(
    any_hub: Hub, storage: ObjectStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mpack").write_bytes(b"mpack")
    key = f"mpacks/{hex_of(b'mpack')}"
    obstore.put(any_hub.store, key, b"cut")

    assert storage.put_mpack(tmp_path / "mpack", hex_of(b"mpack"))
    assert bytes(any_hub.store.get(key).bytes()) == b"mpack"
    assert caplog.messages == [f"{storage.url}/{key} has 3 bytes, not 5: healing it"]


def test_objects_of_every_size_are_stored_under_their_hash(
    any_hub: Hub, storage: ObjectStorage
) -> None:
    source, objects = packed(*CONTENTS)

    count = storage.put_objects(source, objects)
    storage.sync()

    assert count == PutCount(len(CONTENTS), sum(map(len, CONTENTS)))
    assert stored(any_hub) == {hex_of(content): content for content in CONTENTS}


def test_what_is_stored_is_listed_with_size_and_time(
    any_hub: Hub, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_storage, "_LISTED_AT_ONCE", 4)
    assert list(storage.stored_objects()) == []
    storage.put_objects(*packed(*CONTENTS))
    some_hex = hex_of(b"a")
    for name in ("notes", f"ff/{some_hex}", f"{some_hex[:2]}/{some_hex}.txt", some_hex):
        obstore.put(any_hub.store, f"objects/{name}", b"none of ours")

    head = any_hub.store.head(f"objects/{some_hex[:2]}/{some_hex}")
    found = {stored.digest: stored for stored in storage.stored_objects()}
    assert {digest: stored.size_bytes for digest, stored in found.items()} == {
        sha256(content).digest(): len(content) for content in CONTENTS
    }
    # S3 tells parts of a second in a listing only.
    stored_at = found[bytes.fromhex(some_hex)].stored_at.replace(microsecond=0)
    assert stored_at == head["last_modified"].replace(microsecond=0)


def test_what_is_stored_is_read_back(any_hub: Hub, storage: ObjectStorage) -> None:
    storage.put_objects(*packed(*CONTENTS))
    absent, cut = sha256(b"absent").digest(), sha256(LARGE).digest()
    obstore.put(any_hub.store, key_of(LARGE), LARGE[:-7])

    digests = [sha256(content).digest() for content in CONTENTS]
    found = dict(storage.read_back([*digests, absent]))

    assert found.pop(absent) is None
    assert found.pop(cut) == StoredBytes(len(LARGE) - 7, sha256(LARGE[:-7]).digest())
    assert found == {
        sha256(content).digest(): StoredBytes(len(content), sha256(content).digest())
        for content in CONTENTS
        if content is not LARGE
    }
    assert storage.read_back([]) == []


def test_a_large_object_is_read_back_in_little_memory(tmp_path: Path) -> None:
    size, digest = 256 << 20, bytes(32)
    path = tmp_path / "objects" / "00" / digest.hex()
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(size)

    with ObjectStorage(tmp_path.as_uri()) as storage:
        tracemalloc.start()
        [(_, found)] = storage.read_back([digest])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert found is not None
    assert found.size_bytes == size
    assert peak < 1 << 20


def test_missing_and_wrong_bytes_are_healed_and_right_ones_are_left_alone(
    any_hub: Hub, storage: ObjectStorage
) -> None:
    source, places = packed(*CONTENTS)
    storage.put_objects(source, places)
    for wrong in (LARGE, b"a"):
        obstore.put(any_hub.store, key_of(wrong), bytes(len(wrong)))
    any_hub.store.delete(key_of(b""))
    before = {key_of(content): any_hub.store.head(key_of(content)) for content in CONTENTS[3:]}

    healed = storage.heal_objects(source, places)
    storage.sync()

    assert healed == PutCount(3, len(LARGE) + 1)
    assert stored(any_hub) == {hex_of(content): content for content in CONTENTS}
    del before[key_of(LARGE)]
    assert {key: any_hub.store.head(key) for key in before} == before
    assert storage.heal_objects(source, places) == PutCount(0, 0)
    assert storage.heal_objects(*packed()) == PutCount(0, 0)


def test_what_does_not_hash_right_heals_nothing(any_hub: Hub, storage: ObjectStorage) -> None:
    obstore.put(any_hub.store, key_of(b"a"), b"b")
    wrong = Places([Place(sha256(b"a").digest(), 0, 1), Place(sha256(b"c").digest(), 0, 1)])

    assert storage.heal_objects(Bytes(b"x"), wrong) == PutCount(0, 0)

    assert stored(any_hub) == {hex_of(b"a"): b"b"}


def test_objects_are_removed_and_what_is_not_there_is_no_error(
    any_hub: Hub, storage: ObjectStorage
) -> None:
    storage.put_objects(*packed(*CONTENTS))

    storage.delete_objects(sha256(content).digest() for content in (b"a", b"absent", LARGE))
    storage.delete_objects([])

    assert stored(any_hub) == {
        hex_of(content): content for content in CONTENTS if content not in (b"a", LARGE)
    }


def test_no_objects_are_no_request(storage: ObjectStorage) -> None:
    assert storage.put_objects(*packed()) == PutCount(0, 0)


def test_bytes_that_are_there_are_left_alone_and_not_counted(
    any_hub: Hub, storage: ObjectStorage
) -> None:
    """Told apart by bytes of the same size that are others, as no pusher could make them."""
    before = {b"small": b"SMALL", LARGE: LARGE[::-1], b"": b""}
    for content, others in before.items():
        obstore.put(any_hub.store, key_of(content), others)

    count = storage.put_objects(*packed(*before, b"new"))

    assert count == PutCount(1, 3)
    assert stored(any_hub) == {
        **{hex_of(content): others for content, others in before.items()},
        hex_of(b"new"): b"new",
    }


@pytest.mark.parametrize("content", [b"small", LARGE], ids=len)
@pytest.mark.parametrize("others", [b"", b"cut off" * 3], ids=len)
def test_an_object_of_another_size_is_healed_and_reported(
    any_hub: Hub,
    storage: ObjectStorage,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
    others: bytes,
) -> None:
    obstore.put(any_hub.store, key_of(content), others)

    with caplog.at_level(logging.ERROR, logger="musehub_pipeline.objects"):
        count = storage.put_objects(*packed(content))

    assert count == PutCount(1, len(content))
    assert stored(any_hub) == {hex_of(content): content}
    assert [record.getMessage() for record in caplog.records] == [
        f"{storage.url}/{key_of(content)} has {len(others)} bytes, not {len(content)}: healing it"
    ]


def test_runs_that_store_the_same_objects_at_once_agree(
    any_hub: Hub, storage: ObjectStorage
) -> None:
    contents = [b"%d" % n * 50 for n in range(40)]
    source, objects = packed(*contents)

    with ThreadPoolExecutor(3) as runs:
        counts = list(runs.map(lambda _: storage.put_objects(source, objects), range(3)))

    assert stored(any_hub) == {hex_of(content): content for content in contents}
    assert sum(count.objects for count in counts) >= len(contents)


def test_one_failure_of_many_is_raised(storage: ObjectStorage) -> None:
    source, objects = packed(*(b"%d" % n for n in range(100)))

    class Broken(Bytes):
        def read(self, offset: int, size: int) -> bytes:
            if offset > 100:
                raise OSError(5, "the disk is broken")
            return super().read(offset, size)

    with pytest.raises(Transient, match="the disk is broken"):
        storage.put_objects(Broken(source.content), objects)


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
