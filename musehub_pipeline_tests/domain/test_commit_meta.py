"""What is said of a commit: kept as it came, or refused with the name of its field."""

import json
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musehub_pipeline.domain.commit_meta import (
    MAX_KEYS,
    MAX_VALUES,
    PIECE_BYTES,
    check_meta,
    meta_json,
)
from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.packed import MAX_DEPTH, MAX_FIELDS
from musehub_pipeline_tests.domain.reading import array, mapping
from musehub_pipeline_tests.factories import pack

MAX_JSON_BYTES = Limits().commit_bytes
FIELDS = ("metadata", "structured_delta", "breaking_changes", "test_runs")
NAN = b"\xcb\x7f\xf8\0\0\0\0\0\0"
LARGE = pack("x" * PIECE_BYTES)

thoroughly = settings(max_examples=150, derandomize=True, deadline=None, database=None)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | texts.map(lambda text: text * 9)
)
odd = (
    st.binary(max_size=40)
    | st.just(msgpack.Timestamp(2**34 - 1))
    | st.just(msgpack.ExtType(1, b""))
)
values = st.recursive(
    scalars | odd,
    lambda inner: st.lists(inner) | st.dictionaries(texts | st.integers(0, 9), inner),
    max_leaves=40,
)


def check(raw: bytes, *, limit: int = MAX_JSON_BYTES, piece_bytes: int = PIECE_BYTES) -> None:
    check_meta(raw, max_json_bytes=limit, piece_bytes=piece_bytes)


def refusal(
    raw: bytes, *, limit: int = MAX_JSON_BYTES, piece_bytes: int = PIECE_BYTES
) -> tuple[str, str] | None:
    try:
        check(raw, limit=limit, piece_bytes=piece_bytes)
    except Rejection as rejection:
        return rejection.code.value, rejection.message
    return None


def small_and_large(name: str, value: bytes) -> list[bytes]:
    """Return commits that say this: one that is built as a whole, and one that is not."""
    return [mapping({name: value}), mapping({"future": LARGE, name: value})]


@pytest.mark.slow
@thoroughly
@given(
    said=st.fixed_dictionaries({}, optional=dict.fromkeys((*FIELDS, "future"), values)),
    piece_bytes=st.integers(16, 99),
)
def test_a_large_commit_is_judged_and_kept_as_a_small_one(
    said: dict[str, Any], piece_bytes: int
) -> None:
    raw = pack(said)

    fine = refusal(raw) is None

    # Of several faults either finds another one first.
    assert (refusal(raw, piece_bytes=piece_bytes) is None) == fine
    if fine:
        kept = {name: said[name] for name in FIELDS if said.get(name) is not None}
        assert json.loads(meta_json(raw)) == kept
        assert json.loads(meta_json(raw, piece_bytes=piece_bytes)) == kept


def test_no_order_of_keys_that_a_client_chose_gets_to_the_database() -> None:
    """In one that was made for it, 80,000 keys took PostgreSQL six seconds instead of a quarter."""
    keys = [f"{number * 7919 % 2000:04}" for number in range(2000)]
    said: dict[str, Any] = {
        "metadata": dict.fromkeys(keys),
        "structured_delta": [{"b": 1, "a": {"d": 1, "c": 2}}],
    }
    raw = pack(said)

    whole = json.loads(meta_json(raw))
    in_pieces = json.loads(meta_json(raw, piece_bytes=2_000))

    assert in_pieces == whole == said
    assert list(whole["metadata"]) == sorted(keys)
    assert list(in_pieces["metadata"]) not in (keys, sorted(keys))
    for kept in (whole, in_pieces):
        assert json.dumps(kept["structured_delta"]) == '[{"a": {"c": 2, "d": 1}, "b": 1}]'


@pytest.mark.parametrize(
    "value",
    [
        NAN,
        b"\xcb\x7f\xf0\0\0\0\0\0\0",
        b"\xcb\xff\xf0\0\0\0\0\0\0",
        b"\xca\x7f\xc0\0\0",
        b"\xc4\x00",
        b"\xc4\x01a",
        b"\xc6" + (300_000).to_bytes(4) + b"a" * 300_000,
        b"\xd4\x05x",
        b"\xd6\xff\0\0\0\1",
        b"\xc9" + (300_000).to_bytes(4) + b"\x05" * 300_001,
        b"\xc7\x0c\xff" + (0).to_bytes(4) + (253_402_300_800).to_bytes(8),  # the year 10000
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\x81\x01\x01",
        b"\x81\xc3\x01",
        b"\x81\xc4\x01a\x01",
        b"\x81\xca\x3f\x80\0\0\x01",
        b"\x81\x01" + LARGE,
        b"\x81\xc6" + (300_000).to_bytes(4) + b"a" * 300_000 + b"\x01",
        b"\x81\xd6\xff\0\0\0\1\x01",
    ],
    ids=[
        *("nan", "infinity", "-infinity", "nan32", "no bytes", "bytes", "many bytes", "extension"),
        *("time", "long extension", "year 10000", "no time", "integer key", "true key"),
        *("binary key", "float key", "integer key, large value", "large binary key", "time as key"),
    ],
)
def test_what_json_cannot_hold_is_refused_not_changed(value: bytes) -> None:
    for within in (value, array(2, b"\x01" + value), mapping({"a": array(1, value)})):
        for raw in small_and_large("structured_delta", within):
            code, message = refusal(raw) or ("", "")

            assert code == "MPACK_MALFORMED"
            assert message.endswith(" - at `$.structured_delta`")
    for raw in small_and_large("future", value):
        assert refusal(raw) is None


def test_what_is_packed_in_an_unusual_way_is_kept() -> None:
    value = mapping({"float": b"\xca\x3f\xc0\0\0", "int": b"\xd3" + b"\0" * 7 + b"\1"})
    for raw in small_and_large("metadata", value):
        check(raw)

        assert json.loads(meta_json(raw)) == {"metadata": {"float": 1.5, "int": 1}}


@pytest.mark.parametrize("name", ["metadata", "structured_delta"])
def test_a_key_that_occurs_twice_is_refused(name: str) -> None:
    twice = b"\x82\xa1a\x01\xa1a\x01"
    far_apart = b"\x83\xa1a\x01\xa1b" + LARGE + b"\xa1a\x01"
    far_behind = b"\x83\xa1b" + LARGE + b"\xa1c\x01" + b"\xa1b\x01"
    for value in (twice, mapping({"in": array(1, twice)}), far_apart, far_behind):
        for raw in small_and_large(name, value):
            assert refusal(raw) == ("MPACK_MALFORMED", f"a key occurs twice - at `$.{name}`")
    pair = pack(name) + b"\x81\xa1a\x01"
    assert refusal(b"\x82" + pair * 2) == ("MPACK_MALFORMED", "a key occurs twice")
    future = pack("future") + LARGE
    assert refusal(b"\x83" + pair + future + pair) == ("MPACK_MALFORMED", "a key occurs twice")


@pytest.mark.parametrize(("begin", "end"), [(b"\x91", b"\x90"), (b"\x81\xa1a", b"\x80")])
@pytest.mark.parametrize("name", ["metadata", "structured_delta", "future"])
def test_a_commit_is_nested_as_deeply_as_it_may_and_no_deeper(
    name: str, begin: bytes, end: bytes
) -> None:
    for padding in (b"\x01", LARGE):
        for depth, expected in (
            (MAX_DEPTH - 1, None),
            (MAX_DEPTH, None),
            (MAX_DEPTH + 1, ("MPACK_MALFORMED", "nested too deeply")),
            (MAX_DEPTH + 700, ("MPACK_MALFORMED", "nested too deeply")),
        ):
            # The commit itself, the map beside the padding, and what is in it.
            value = mapping({"b": begin * (depth - 3) + end, "a": padding})
            assert refusal(mapping({name: value})) == expected


@pytest.mark.parametrize("piece_bytes", [16, PIECE_BYTES])
def test_the_json_of_a_commit_may_be_as_long_as_its_limit_and_no_longer(piece_bytes: int) -> None:
    raw = pack({"metadata": {"a": "\x01" * 30, "b": [1, 2, 3]}, "agent_id": "x", "future": "é"})
    size = len(b'{"a":"","b":[1,2,3]}"x"') + 30 * len("\\u0001")

    for limit in (size + 1, size):
        assert refusal(raw, limit=limit, piece_bytes=piece_bytes) is None
    assert refusal(raw, limit=size - 1, piece_bytes=piece_bytes) == (
        "LIMIT_EXCEEDED",
        f"more than {size - 1} bytes as JSON - at `$.agent_id`",
    )


@pytest.mark.parametrize("piece_bytes", [16, PIECE_BYTES])
@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"\xcb" + b"\0" * 7 + b"\1", "0." + "0" * 323 + "5"),
        (pack(-1.7976931348623157e308), "-17976931348623157" + "0" * 292),
        (pack(1e16), "1" + "0" * 16),
        (pack(1.7000000000000001e18), "1700000000000000100"),
        (pack(1e-7), "0.0000001"),
        (pack(-1.5e-7), "-0.00000015"),
        (pack(False), "false"),
        (pack(None), "null"),
        (pack(100), "100"),
        (pack("\x01"), '"\\u0001"'),
        (pack({"": None}), '{"": null}'),
    ],
    ids=[
        "tiny",
        "huge",
        "large",
        "time",
        "small",
        "negative",
        "false",
        "nil",
        "hundred",
        "control",
        "map",
    ],
)
def test_what_a_reader_gets_back_is_no_more_than_four_times_what_was_pushed(
    packed: bytes, text: str, piece_bytes: int
) -> None:
    count = 1_000
    back = len('"structured_delta": [], ') + count * len(text + ", ") - len(", ")

    def commit(padding: int) -> bytes:
        delta = array(count, packed * count)
        return mapping(
            {"structured_delta": delta, "future": b"\xdb" + padding.to_bytes(4) + b"x" * padding}
        )

    bare = len(commit(0))
    least = max(0, -(-back // 4) - bare)

    assert refusal(commit(least), piece_bytes=piece_bytes) is None
    if least:
        code, message = refusal(commit(least - 1), piece_bytes=piece_bytes) or ("", "")
        assert (
            code,
            message.endswith("as PostgreSQL writes it out - at `$.structured_delta`"),
        ) == (
            "LIMIT_EXCEEDED",
            True,
        )


def test_integers_have_up_to_64_bits() -> None:
    for value in (-(2**63), 2**64 - 1):
        for raw in small_and_large("structured_delta", pack([value])):
            check(raw)
            assert json.loads(meta_json(raw)) == {"structured_delta": [value]}
    # Wider ones have no form of their own: they come as extensions, or as floats, which they stay.
    wider = (2**64).to_bytes(9)
    for raw in small_and_large("structured_delta", b"\xc7" + bytes([len(wider), 1]) + wider):
        assert (refusal(raw) or ("",))[0] == "MPACK_MALFORMED"


def test_a_commit_may_have_as_many_keys_as_its_limit_and_no_more() -> None:
    for padding in (b"\x01", LARGE):
        keys = {str(number): b"\x01" for number in range(MAX_FIELDS - 1)} | {"future": padding}
        assert refusal(mapping(keys)) is None
        assert refusal(mapping(keys | {"x": b"\x01"})) == (
            "LIMIT_EXCEEDED",
            f"{MAX_FIELDS + 1} keys, where {MAX_FIELDS} are allowed",
        )


@pytest.mark.slow
def test_a_map_may_have_as_many_keys_as_its_limit_and_no_more() -> None:
    pairs = b"".join(b"\xa6%06x\xc0" % number for number in range(MAX_KEYS))

    assert refusal(mapping({"metadata": b"\xdf" + MAX_KEYS.to_bytes(4) + pairs})) is None
    more = b"\xdf" + (MAX_KEYS + 1).to_bytes(4) + pairs + b"\xa1x\xc0"
    assert refusal(mapping({"metadata": more})) == (
        "LIMIT_EXCEEDED",
        f"more than {MAX_KEYS} keys in a map - at `$.metadata`",
    )


@pytest.mark.slow
def test_a_commit_may_have_as_many_values_as_its_limit_and_no_more() -> None:
    limit = ("LIMIT_EXCEEDED", f"more than {MAX_VALUES} values - at `$.structured_delta`")

    # Of texts, no comma and no bracket counts.
    for count, expected in ((MAX_VALUES, None), (MAX_VALUES + 1, limit)):
        items = b"\xa2,[" + b"\x01" * (count - 1)
        assert refusal(mapping({"structured_delta": array(count, items)})) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        array(100_000, b"\x80" * 100_000),
        array(30_000, b"\x81\x00\x00" * 30_000),
        array(300, (b"\x81\xa0" * 190 + b"\x81\xa0\xc0") * 300),
        mapping({str(n): array(10_000, b"\x91\x90" * 10_000) for n in range(6)}),
        array(2, (b"\xdb" + (50_000).to_bytes(4) + b"\x01" * 50_000) * 2),
    ],
    ids=["empty maps", "integers as keys", "chains", "lists in a map", "long texts"],
)
def test_a_large_commit_takes_the_memory_of_a_piece_and_its_json(value: bytes) -> None:
    raw = mapping({"structured_delta": value})
    piece_bytes = 16 << 10
    tracemalloc.start()
    try:
        if refusal(raw, piece_bytes=piece_bytes) is None:
            meta_json(raw, piece_bytes=piece_bytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 200 * piece_bytes + 8 * len(raw)
