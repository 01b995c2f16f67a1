"""Mpacks that a stranger made to hurt: refused in bounded memory, and before they are read."""

import tracemalloc
from contextlib import suppress
from hashlib import sha256
from itertools import repeat

import pytest

from musehub_pipeline.domain.digests import DigestSet
from musehub_pipeline.domain.errors import Deferral, Fault, Rejection, Trouble
from musehub_pipeline.domain.inventory import Inventory
from musehub_pipeline.domain.limits import MEMORY_GROWTH, Limits
from musehub_pipeline.domain.manifest import LARGE_BYTES
from musehub_pipeline.domain.mpack import MpackItem
from musehub_pipeline.domain.packed import MAX_DEPTH
from musehub_pipeline.domain.places import Place
from musehub_pipeline.phases.unpack import Room
from musehub_pipeline_tests.benchmarks.hostile_mpacks import both, large_commit, small_commits
from musehub_pipeline_tests.domain.reading import array, mapping, read, refusal, tiny_history
from musehub_pipeline_tests.factories import joined, pack

LISTS = ("commits", "snapshots", "objects")
MEBIBYTE = 1 << 20
EMPTY_MAPS = array(20_000_000, b"\x80" * 20_000_000)
ONE = "0123456789abcdef" * 4
HEX = pack(ONE)
COMMIT = {
    "commit_id": HEX,
    "snapshot_id": HEX,
    "message": pack(""),
    "committed_at": pack("2026-03-01T12:00:00Z"),
}


def objects(key: str, value: bytes) -> bytes:
    fields = {"object_id": HEX, "content": pack(b"")} | {key: value}
    return mapping({"objects": array(1, mapping(fields))})


def snapshots(key: str, value: bytes) -> bytes:
    fields = {"snapshot_id": HEX, "manifest": pack({})} | {key: value}
    return mapping({"snapshots": array(1, mapping(fields))})


def commits(key: str, value: bytes) -> bytes:
    return mapping({"commits": array(1, mapping({**COMMIT, key: value}))})


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(
    "header", [b"\xdd\xff\xff\xff\xff", b"\xdd\x00\x2d\xc6\xc0", b"\xdc\xff\xff"]
)
def test_a_list_over_its_limit_is_refused_by_its_header(kind: str, header: bytes) -> None:
    promised = int.from_bytes(header[1:])
    limits = Limits(commits=60_000, snapshots=60_000, objects=60_000)

    assert refusal(b"\x81" + pack(kind) + header, limits=limits) == (
        "LIMIT_EXCEEDED",
        f"{kind}: {promised} items, where 60000 are allowed",
    )


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_cannot_fit_into_the_file_is_refused_by_its_header(kind: str) -> None:
    limits = Limits(commits=2**32, snapshots=2**32, objects=2**32)

    assert refusal(b"\x81" + pack(kind) + b"\xdd\xff\xff\xff\xff", limits=limits) == (
        "MPACK_MALFORMED",
        f"{kind}: {2**32 - 1} items do not fit into the file",
    )


@pytest.mark.parametrize(
    "promise",
    [
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xdb\xff\xff\xff\xff",
        b"\x81\xdd\xff\xff\xff\xff",
        b"\x81\xa1x\xc6\xff\xff\xff\xff",
        b"\x81\xa1x\xdd\xff\xff\xff\xff",
        b"\x81\xa1x\xdf\xff\xff\xff\xff",
        b"\x81\xa1x\xc9\xff\xff\xff\xff\x05",
        mapping({"objects": array(1, b"\xdf\xff\xff\xff\xff")}),
        objects("content", b"\xc6\xff\xff\xff\xff"),
        objects("object_id", b"\xdb\xff\xff\xff\xff"),
        mapping({"commits": array(1, b"\xdf\xff\xff\xff\xff")}),
        commits("message", b"\xdb\xff\xff\xff\xff"),
        snapshots("manifest", b"\xdf\xff\xff\xff\xff"),
    ],
)
def test_a_promise_that_a_file_of_few_bytes_cannot_keep_is_malformed(promise: bytes) -> None:
    tracemalloc.start()
    try:
        code, _ = refusal(promise)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert code == "MPACK_MALFORMED"
    assert peak < 2 * MEBIBYTE


@pytest.mark.parametrize("bomb", [b"\x91" * 100_000 + b"\xc0", b"\x81\xa0" * 100_000 + b"\xc0"])
def test_a_nesting_bomb_is_malformed_wherever_it_lies(bomb: bytes) -> None:
    places = {
        "the mpack": bomb,
        "a key": b"\x81" + bomb,
        "an unknown list": mapping({"future": bomb}),
        **{kind: mapping({kind: bomb}) for kind in LISTS},
        **{f"an item of {kind}": mapping({kind: array(1, bomb)}) for kind in LISTS},
        **{f"object.{key}": objects(key, bomb) for key in ("object_id", "content", "x")},
        **{f"snapshot.{k}": snapshots(k, bomb) for k in ("snapshot_id", "manifest", "x")},
        "an id in a manifest": snapshots("manifest", mapping({"a": bomb})),
        **{f"commit.{key}": commits(key, bomb) for key in ("commit_id", "metadata", "x")},
        "metadata.nested": commits("metadata", mapping({"a": bomb})),
    }

    codes = {place: refusal(mpack)[0] for place, mpack in places.items()}

    # A map is a fine list of keys, until one of them occurs twice.
    assert codes == dict.fromkeys(places, "MPACK_MALFORMED")


def peak_of_reading(mpack: bytes, limits: Limits | None = None) -> int:
    """Return the most memory that Python held, but for the mpack, while it was read."""
    tracemalloc.start()
    try:
        with suppress(Rejection):
            read(mpack, limits=limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "mpack",
    [
        mapping({"commits": EMPTY_MAPS}),
        mapping({"objects": EMPTY_MAPS}),
        objects("object_id", EMPTY_MAPS),
        objects("content", EMPTY_MAPS),
        objects("future", EMPTY_MAPS),
        mapping({"future": EMPTY_MAPS}),
        mapping({"future": b"\xdb" + (20_000_000).to_bytes(4) + b"\x80" * 20_000_000}),
    ],
    ids=[
        *("commits", "objects", "object_id", "content"),
        *("object.future", "future", "a text"),
    ],
)
def test_20_mb_of_nothing_are_read_in_the_memory_of_a_buffer(mpack: bytes) -> None:
    assert peak_of_reading(mpack, Limits(text_bytes=4 * MEBIBYTE)) < 12 * MEBIBYTE


@pytest.mark.parametrize(
    "key",
    ["metadata", pytest.param("structured_delta", marks=pytest.mark.slow), "future"],
)
def test_20_mb_of_nothing_in_a_commit_take_no_more_than_themselves_and_a_piece(key: str) -> None:
    assert peak_of_reading(commits(key, EMPTY_MAPS)) < 52 * MEBIBYTE


@pytest.mark.parametrize("kind", LISTS)
def test_20_mb_of_nothing_are_refused_at_the_first_item(kind: str) -> None:
    limits = Limits(commits=2**32, snapshots=2**32, objects=2**32)

    assert peak_of_reading(mapping({kind: EMPTY_MAPS}), limits) < 12 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize(
    "manifest",
    [
        EMPTY_MAPS,
        mapping({"a": EMPTY_MAPS}),
        b"\xdf" + (10_000_000).to_bytes(4) + b"\xa0\x80" * 10_000_000,
        b"\xdf" + (10_000_000).to_bytes(4) + b"\xa0\xa0" * 10_000_000,
    ],
    ids=["a list", "an id", "entries of maps", "entries of texts"],
)
def test_20_mb_of_nothing_as_a_manifest_are_not_built(manifest: bytes) -> None:
    # Twice the snapshot as it lies in the file: whole, and its manifest.
    assert peak_of_reading(snapshots("manifest", manifest)) < 52 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize("path", [b"%06x", "🎵%06x".encode()], ids=["short paths", "of 4 bytes"])
def test_a_large_manifest_takes_a_few_times_itself_and_not_twenty(path: bytes) -> None:
    entries = 5 * MEBIBYTE // len(pack((path % 0).decode()) + pack(ONE))
    paths = [path % number for number in range(entries)]
    manifest = b"".join(pack(each.decode()) + pack(ONE) for each in paths)
    whole = b"\xdf" + entries.to_bytes(4) + manifest
    assert len(whole) > LARGE_BYTES
    snapshot_id = joined(*(f"{each.decode()}\0{ONE}" for each in paths))
    mpack = mapping(
        {"snapshots": array(1, mapping({"snapshot_id": pack(snapshot_id), "manifest": whole}))}
    )

    # As it lies in the file, and each entry in order to be sorted.
    assert peak_of_reading(mpack) < 20 * MEBIBYTE


@pytest.mark.slow
def test_an_object_takes_some_fifty_bytes_and_one_that_is_named_less() -> None:
    count = 60_000
    digests = [sha256(number.to_bytes(4)).digest() for number in range(5 * count)]
    items = [MpackItem(0, Place(digest, 2**40, 2**20), b"") for digest in digests[:count]]
    inventory, named = Inventory(verify_ids=True, limits=Limits()), DigestSet()

    tracemalloc.start()
    try:
        inventory.add_objects(items, held=(), proven=(), sizes={})
        objects_take = tracemalloc.get_traced_memory()[0]
        named.update(digests)
        named_take = tracemalloc.get_traced_memory()[0] - objects_take
    finally:
        tracemalloc.stop()

    assert objects_take < 64 * count
    assert named_take < 64 * len(named)


def test_how_deep_a_value_may_be_does_not_depend_on_the_stack_of_who_asks() -> None:
    def codes(depth: int) -> list[str | None]:
        if depth:
            return codes(depth - 1)
        return [code(nested) for nested in (MAX_DEPTH, MAX_DEPTH + 1, 900)]

    def code(nested: int) -> str | None:
        try:
            read(snapshots("future", b"\x91" * nested + b"\xc0"))
        except Rejection as rejection:
            return None if rejection.fault is Fault.SNAPSHOT_ID_MISMATCH else rejection.fault.value
        return None

    assert codes(0) == codes(500) == [None, "MPACK_MALFORMED", "MPACK_MALFORMED"]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["mpack", "object"])
def test_a_flood_of_unknown_keys_is_not_kept(place: str) -> None:
    keys = 300_000
    pairs = (b"\xa5%05x\xc0" % number for number in range(keys))
    flood = b"\xdf" + keys.to_bytes(4) + b"".join(pairs)
    mpack = flood if place == "mpack" else mapping({"objects": array(1, flood)})

    assert peak_of_reading(mpack) < 12 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize(("small", "is_judged"), [(10_000, True), (50_000, False)])
def test_a_large_item_is_refused_where_too_much_is_known_already(
    small: int, *, is_judged: bool
) -> None:
    size = 16 * MEBIBYTE // MEMORY_GROWTH  # what a commit may have, and what is known of others
    limits = Limits(objects=0, commit_bytes=size, snapshot_bytes=size)
    large = large_commit(ONE, {"structured_delta": pack("x" * (size - 1000))})
    items = both(small_commits(repeat(ONE, small), small), large)
    mpack = mapping({"commits": array(items.count, b"".join(items.packed))})

    if is_judged:
        assert len(read(mpack, limits=limits).commits) == small + 1
    else:
        most = limits.mpack_memory_bytes
        assert refusal(mpack, limits=limits) == (
            "LIMIT_EXCEEDED",
            f"mpack: all that is known of it takes more than {most} bytes: push it in parts",
        )


def test_what_takes_more_memory_than_a_batch_has_left_waits() -> None:
    mpack = tiny_history().mpack()
    needed = MEMORY_GROWTH * len(mpack) + 10_000  # and some for empty tables

    assert read(mpack, room=Room(3, needed)).new_items == 3
    for room in (Room(2, needed), Room(3, 0)):
        with pytest.raises(Deferral) as put_off:
            read(mpack, room=room)
        assert put_off.value.code is Trouble.OVER_BATCH
