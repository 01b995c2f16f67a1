"""Mpacks in storage of each kind: what is found, what is fetched, and what is refused."""

from pathlib import Path

import obstore
import pytest

from musehub_pipeline.domain.errors import Rejection, Transient
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.objects.packing import LARGE, hex_of


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
