"""Objects in storage of each kind: what is found, what is written, and what is left alone."""

import logging
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import obstore
import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.domain.places import Place, Places
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.stored_objects import PutCount, StoredBytes
from musehub_pipeline_tests.domain.reading import Bytes
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.objects.packing import CONTENTS, LARGE, hex_of, key_of, packed, stored


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
    monkeypatch.setattr("musehub_pipeline.objects.storage._LISTED_AT_ONCE", 4)
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
