"""The form of an mpack: what the reader takes, what it hands on, and what it refuses."""

from hashlib import sha256
from itertools import permutations
from typing import Any

import msgpack
import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.ids import digest_of, id_of, stored
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.mpack import LEAST_ITEM_BYTES, LONG_BYTES, Kind, MpackItem, read_mpack
from musehub_pipeline.domain.places import Place
from musehub_pipeline_tests.domain.reading import (
    Bytes,
    array,
    lengths,
    mapping,
    read,
    refusal,
    tiny_history,
    with_item,
)
from musehub_pipeline_tests.factories import History, pack, small_history

LISTS = ("commits", "snapshots", "objects")
TEXT_BYTES = Limits().text_bytes
LENGTHS = {"commits": 4, "snapshots": 4, "objects": 14}  # in a small history
EVERY_TYPE: tuple[Any, ...] = (
    *(None, True, 7, -1, 2**64 - 1, 1.5, "text", "x" * 70_000, b"bytes", [], {}),
    *([1, [2, {"a": [b""]}]], {"a": {7: None}}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)),
)
CONTENT_ID = sha256(b"x" * 3 * (1 << 16)).hexdigest()


def shortly(value: object) -> str:
    return f"{value!r:.20}"


def items_of(mpack: bytes) -> list[tuple[Kind, MpackItem]]:
    chunks = read_mpack(Bytes(mpack), limits=Limits())
    return [(kind, item) for kind, items in chunks for item in items]


def contents_of(mpack: bytes) -> list[bytes]:
    """Return what lies at the place of each object."""
    places = [item.place for kind, item in items_of(mpack) if kind == "object"]
    return [mpack[place.offset : place.offset + place.size] for place in places]


def named_in(mpack: bytes) -> list[tuple[Kind, str]]:
    return [(kind, id_of(item.place.digest)) for kind, item in items_of(mpack)]


def test_every_item_is_yielded_with_the_place_where_it_lies() -> None:
    content = tiny_history().content()
    mpack = pack(content)

    items = items_of(mpack)

    [commit], [snapshot], [each] = (content[kind] for kind in LISTS)
    raw_commit, raw_snapshot = pack(commit), pack(snapshot)

    def place(any_id: str, raw: bytes) -> Place:
        return Place(digest_of(any_id), mpack.rindex(raw), len(raw))

    assert items == [
        ("snapshot", MpackItem(0, place(snapshot["snapshot_id"], raw_snapshot), raw_snapshot)),
        ("commit", MpackItem(0, place(commit["commit_id"], raw_commit), raw_commit)),
        ("object", MpackItem(0, place(each["object_id"], b"a"), b"")),
    ]


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_every_item_is_known_by_the_digest_of_its_id(prefix: str) -> None:
    history = small_history(prefix)

    expected = [
        *(("commit", commit_id) for commit_id in history.commits),
        *(("snapshot", snapshot_id) for snapshot_id in history.snapshots),
        *(("object", object_id) for object_id in history.objects),
    ]
    assert sorted(named_in(history.mpack())) == sorted(
        (kind, stored(any_id)) for kind, any_id in expected
    )


def test_what_an_item_says_beside_its_id_is_not_looked_at() -> None:
    content = small_history().content()
    content["objects"][0]["content"] = b"others"
    content["snapshots"][0]["manifest"] = {}
    content["commits"][0]["message"] = "another"

    assert named_in(pack(content)) == named_in(small_history().mpack())


@pytest.mark.parametrize("kind", ["object", "snapshot", "commit"])
def test_what_is_no_id_is_a_rejection_that_names_the_item(kind: str) -> None:
    content = small_history().content()
    content[f"{kind}s"][1][f"{kind}_id"] = "no id"

    with pytest.raises(Rejection) as caught:
        items_of(pack(content))

    assert (caught.value.code.value, caught.value.item) == ("BAD_ID", f"{kind}s[1]")


@pytest.mark.parametrize(
    ("kind", "numbers", "size"),
    [("object", 20_001, 1), ("object", 9, 8 << 20), ("commit", 5, 2 << 20)],
)
def test_a_long_list_comes_in_chunks_and_in_order(kind: Kind, numbers: int, size: int) -> None:
    ids = [f"{number:064x}" for number in range(numbers)]
    item = {"object": "content", "commit": "message"}[kind]
    mpack = pack({f"{kind}s": [{f"{kind}_id": each, item: b"x" * size} for each in ids]})

    chunks = list(read_mpack(Bytes(mpack), limits=Limits()))

    assert len(chunks) > 1
    assert [item.number for _, items in chunks for item in items] == list(range(numbers))
    assert named_in(mpack) == [(kind, stored(each)) for each in ids]


@pytest.mark.parametrize("order", list(permutations(LISTS)))
def test_the_lists_come_in_any_order(order: tuple[str, ...]) -> None:
    content = small_history().content()

    inventory = read(pack({"tags": [], **{kind: content[kind] for kind in order}, "x": {}}))

    assert lengths(inventory) == LENGTHS


@pytest.mark.parametrize("absent", [LISTS, ("commits",), ("snapshots",), ("objects", "commits")])
def test_any_of_the_lists_may_be_absent(absent: tuple[str, ...]) -> None:
    content = small_history().content()

    inventory = read(pack({kind: content[kind] for kind in LISTS if kind not in absent}))

    assert lengths(inventory) == LENGTHS | dict.fromkeys(absent, 0)


@pytest.mark.parametrize("value", EVERY_TYPE, ids=shortly)
def test_unknown_keys_are_ignored_at_every_level(value: Any) -> None:
    content = tiny_history().content()
    expected = named_in(pack(content))
    for kind in LISTS:
        content[kind][0] = {"": value, **content[kind][0], "future": value}

    mpack = pack({"first": value, **content, "last": value})

    assert named_in(mpack) == expected
    assert contents_of(mpack) == [b"a"]


def test_the_keys_of_an_object_come_in_any_order() -> None:
    object_id = "f" * 64
    mpack = pack({"objects": [{"content": b"tone", "path": "a", "object_id": object_id}]})

    assert named_in(mpack) == [("object", stored(object_id))]
    assert contents_of(mpack) == [b"tone"]


@pytest.mark.parametrize("header", [b"\xc4\x04", b"\xc5\x00\x04", b"\xc6\x00\x00\x00\x04"])
def test_a_content_may_have_a_longer_header_than_it_needs(header: bytes) -> None:
    item = mapping({"object_id": pack("f" * 64), "content": header + b"tone"})

    mpack = mapping({"objects": array(1, item)})

    assert contents_of(mpack) == [b"tone"]


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_may_be_as_long_as_its_limit_and_no_longer(kind: str) -> None:
    mpack = pack({kind: small_history().content()[kind]})
    length = LENGTHS[kind]

    assert lengths(read(mpack, limits=Limits(**{kind: length})))[kind] == length
    assert refusal(mpack, limits=Limits(**{kind: length - 1})) == (
        "LIMIT_EXCEEDED",
        f"{kind}: {length} items, where {length - 1} are allowed",
    )


@pytest.mark.parametrize("kind", ["commits", "snapshots"])
def test_an_item_may_be_as_large_as_its_limit_and_no_larger(kind: str) -> None:
    content = tiny_history().content()
    size = len(pack(content[kind][0]))
    name = {"commits": "commit_bytes", "snapshots": "snapshot_bytes"}[kind]

    assert lengths(read(pack(content), limits=Limits(**{name: size})))[kind] == 1
    assert refusal(pack(content), limits=Limits(**{name: size - 1})) == (
        "LIMIT_EXCEEDED",
        f"{kind}[0]: {size} bytes, where {size - 1} are allowed",
    )


@pytest.mark.parametrize("before", [0, 1, 65_530, 70_000])
@pytest.mark.parametrize("text", ["x", b"x"], ids=["text", "binary"])
@pytest.mark.parametrize("place", ["commits", "snapshots", "nested", "future"])
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(
    place: str, text: str | bytes, before: int
) -> None:
    limit = 1 << 16
    for size in (limit - 1, limit, limit + 1):
        content = {"pad": [0] * before, **tiny_history().content()}
        content["objects"][0] |= {"content": b"x" * 3 * limit, "object_id": CONTENT_ID}
        match place:
            case "nested":
                content["commits"][0]["future"] = [{"a": text * size}]
            case "future":
                content["future"] = [text * size]
            case _:
                content[place][0]["future"] = text * size
        content |= {"snapshots": content.pop("snapshots"), "objects": content.pop("objects")}
        limits = Limits(text_bytes=limit)

        if size <= limit:
            assert lengths(read(pack(content), limits=limits))["objects"] == 1
        else:
            code, message = refusal(pack(content), limits=limits)
            assert code == "LIMIT_EXCEEDED"
            assert message.endswith(f": a value is longer than {limit} bytes")


def test_a_mpack_that_ends_anywhere_too_early_is_malformed() -> None:
    history = History()
    root = history.commit({"a": b"a", "leer": b""}, metadata={"k": [1, {"x": 1.5}]})
    history.commit({"a": b"\xc4" * 300}, parents=[root])
    mpack = pack({**history.content(), "tags": [{"name": "v1"}], "branch_heads": {"main": root}})
    read(mpack)

    codes = {refusal(mpack[:length])[0] for length in range(len(mpack))}

    assert codes == {"MPACK_MALFORMED"}


@pytest.mark.parametrize("tail", [b"\0", b"\xc0" * 3, tiny_history().mpack()])
def test_bytes_behind_its_end_are_malformed(tail: bytes) -> None:
    assert refusal(tiny_history().mpack() + tail) == (
        "MPACK_MALFORMED",
        f"mpack: {len(tail)} bytes follow its end",
    )


@pytest.mark.parametrize("key", LISTS)
def test_a_list_that_occurs_twice_is_malformed(key: str) -> None:
    pair = pack(key) + b"\x90"

    assert refusal(b"\x83" + pair + pack("x") + b"\xc0" + pair) == (
        "MPACK_MALFORMED",
        f"mpack: the key {key!r} occurs twice",
    )


@pytest.mark.parametrize(("key", "value"), [("object_id", "f" * 64), ("content", b"a")])
def test_a_key_of_an_object_that_occurs_twice_is_malformed(key: str, value: object) -> None:
    good = tiny_history().content()["objects"][0]
    twice = b"\x84" + pack(good)[1:] + (pack(key) + pack(value)) * 2

    code, message = refusal(mapping({"objects": array(2, pack(good) + twice)}))

    assert (code, message) == ("MPACK_MALFORMED", f"objects[1]: the key {key!r} occurs twice")


def test_unknown_keys_may_occur_as_often_as_they_like() -> None:
    twice = (pack("future") + b"\x01") * 2
    item = b"\x84" + pack(tiny_history().content()["objects"][0])[1:] + twice

    assert contents_of(b"\x83" + twice + pack("objects") + array(1, item)) == [b"a"]


@pytest.mark.parametrize("top", [b"", b"\xc1", pack([]), pack("mpack"), pack(7), pack(None)])
def test_what_is_no_map_is_malformed(top: bytes) -> None:
    assert refusal(top)[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("key", [7, None, b"objects", 1.5, True, [1], {}])
def test_a_key_that_is_no_text_is_malformed(key: object) -> None:
    packed = pack(key)

    at_the_top, in_an_object = b"\x81" + packed + b"\x90", b"\x81" + packed + b"\xc0"

    assert refusal(at_the_top)[0] == "MPACK_MALFORMED"
    assert refusal(mapping({"objects": array(1, in_an_object)}))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("value", [v for v in EVERY_TYPE if v != []], ids=shortly)
def test_a_list_that_is_none_is_malformed(kind: str, value: object) -> None:
    assert refusal(pack({kind: value}))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("value", EVERY_TYPE, ids=shortly)
def test_an_item_that_is_no_map_of_its_kind_is_malformed(kind: str, value: object) -> None:
    content = tiny_history().content()

    code, message = refusal(pack({kind: [*content[kind], value]}))

    assert (code, message.split(":")[0]) == ("MPACK_MALFORMED", f"{kind}[1]")


@pytest.mark.parametrize("name", ["object_id", "content"])
def test_an_object_needs_an_id_and_a_content(name: str) -> None:
    code, message = refusal(with_item("objects", {}, without=name))

    assert (code, message.split(": ")[:2]) == ("MPACK_MALFORMED", ["objects[0]", name])


@pytest.mark.parametrize("value", [v for v in EVERY_TYPE if not isinstance(v, str)], ids=shortly)
def test_an_object_id_that_is_no_text_is_malformed(value: object) -> None:
    assert refusal(with_item("objects", {"object_id": value}))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("value", [v for v in EVERY_TYPE if not isinstance(v, bytes)], ids=shortly)
def test_a_content_that_is_not_binary_is_malformed(value: object) -> None:
    assert refusal(with_item("objects", {"content": value}))[0] == "MPACK_MALFORMED"


def test_a_large_text_in_the_place_of_a_content_is_malformed() -> None:
    text = "x" * (LONG_BYTES + 1)

    assert refusal(with_item("objects", {"content": text})) == (
        "MPACK_MALFORMED",
        "objects[0]: content: not binary",
    )


@pytest.mark.parametrize("long", [b"x" * (TEXT_BYTES + 1), "x" * (TEXT_BYTES + 1)])
def test_a_long_value_that_is_ignored_is_passed_over_unread(long: bytes | str) -> None:
    content = {"before": long, **tiny_history().content(), "after": long}
    content["objects"][0] |= {"thumbnail": long}

    assert len(read(pack(content)).objects) == len(content["objects"])
    assert refusal(pack({"future": long})[:-1])[0] == "MPACK_MALFORMED"
    assert refusal(pack({"future": [long]})) == (
        "LIMIT_EXCEEDED",
        f"mpack: a value is longer than {TEXT_BYTES} bytes",
    )


def test_a_text_that_is_not_utf_8_is_malformed_where_it_is_read() -> None:
    bad = b"\xa2\xff\xfe"

    assert refusal(b"\x81" + bad + b"\x90")[0] == "MPACK_MALFORMED"
    item = mapping({"object_id": bad, "content": pack(b"")})
    assert refusal(mapping({"objects": array(1, item)}))[0] == "MPACK_MALFORMED"


def test_no_item_takes_less_than_what_backfills_count_for_one() -> None:
    content = {"objects": [{"object_id": "0" * 64, "content": b""}]}

    assert len(pack(content["objects"][0])) == LEAST_ITEM_BYTES
    assert min(len(pack(item)) for item in tiny_history().content()["commits"]) > LEAST_ITEM_BYTES
    assert len(pack({"snapshot_id": "0" * 64, "manifest": {}})) >= LEAST_ITEM_BYTES
