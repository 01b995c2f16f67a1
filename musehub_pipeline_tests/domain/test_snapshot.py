"""One snapshot: the manifest that it is, and the JSON that is stored of it."""

import json
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline.domain.packed import MAX_FIELDS
from musehub_pipeline.domain.snapshot import (
    Snapshot,
    check_snapshot,
    decode_snapshot,
)
from musehub_pipeline_tests.domain.reading import mapping
from musehub_pipeline_tests.factories import joined, pack

LIMITS = Limits()
ONE, TWO = "1" * 64, "sha256:" + "2" * 64
PLAIN: dict[str, Any] = {
    "snapshot_id": ONE,
    "manifest": {"a": ONE, "b/é": TWO},
    "created_at": "2026-03-01T12:00:00+01:00",
}


def whole(snapshot: Snapshot) -> dict[str, str]:
    return dict(chain.from_iterable(each.items() for each in snapshot.manifest.portions()))


def with_manifest(manifest: bytes) -> bytes:
    return mapping({"snapshot_id": pack(ONE), "manifest": manifest})


def check(snapshot: Snapshot, *, verify_id: bool, limits: Limits = LIMITS) -> bool:
    return check_snapshot(snapshot, verify_id=verify_id, limits=limits, manifests=Manifests())


def refusal_of(raw: bytes, *, verify_id: bool = False) -> tuple[str, str]:
    with pytest.raises(Rejection) as caught:
        check(decode_snapshot(raw), verify_id=verify_id)
    return caught.value.code.value, caught.value.message


def test_a_snapshot_is_read_as_the_client_spelled_it() -> None:
    snapshot = decode_snapshot(pack(PLAIN | {"unknown": [{}]}))

    assert snapshot.snapshot_id == ONE
    assert whole(snapshot) == {"a": ONE, "b/é": TWO}
    assert snapshot.created_at == datetime(2026, 3, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize("created_at", [{}, {"created_at": None}, {"created_at": ""}])
def test_it_may_say_no_time(created_at: dict[str, Any]) -> None:
    raw = pack({"snapshot_id": ONE, "manifest": {}} | created_at)

    snapshot = decode_snapshot(raw)

    assert (snapshot.snapshot_id, whole(snapshot), snapshot.created_at) == (ONE, {}, None)


@pytest.mark.parametrize("text", ["2026-03-01T12:00:00", "2026-02-30T00:00:00+01:00", "now", " "])
def test_a_time_that_it_says_is_checked(text: str) -> None:
    assert refusal_of(pack(PLAIN | {"created_at": text})) == (
        "BAD_TIMESTAMP",
        f"created_at: {text!r} is not ISO 8601 with an offset",
    )


@pytest.mark.parametrize("entries", [0, 1, 15, 16, 65_535, 65_536])
def test_manifests_of_every_size_are_read(entries: int) -> None:
    manifest = {f"{n}": ONE for n in range(entries)}

    snapshot = decode_snapshot(pack({"snapshot_id": ONE, "manifest": manifest}))

    assert whole(snapshot) == manifest


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("snapshot_id", (None, 7, b"1" * 64, [], {})),
        ("manifest", (None, 7, "text", [], [["a", ONE]])),
        ("manifest", ({"a": None}, {"a": 7}, {"a": b"1" * 64}, {"a": [ONE]}, {"a": {}}, {7: ONE})),
        ("created_at", (7, b"2026-03-01T12:00:00Z", [])),
    ],
)
def test_a_field_of_another_type_is_malformed(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        assert refusal_of(pack(PLAIN | {name: value}))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("name", ["snapshot_id", "manifest"])
def test_a_missing_field_is_named(name: str) -> None:
    code, message = refusal_of(pack({key: PLAIN[key] for key in PLAIN if key != name}))

    assert code == "MPACK_MALFORMED"
    assert f"`{name}`" in message


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x90", b"\xa1x", b"\x80", b"\xc1", pack([PLAIN])])
def test_what_is_no_snapshot_at_all_is_malformed(raw: bytes) -> None:
    assert refusal_of(raw)[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("times", [2, 3])
def test_a_path_that_occurs_twice_is_malformed(times: int) -> None:
    manifest = bytes([0x80 + times]) + (pack("a") + pack(ONE)) * times

    assert refusal_of(with_manifest(manifest)) == (
        "MPACK_MALFORMED",
        "manifest: a path occurs twice",
    )


@pytest.mark.parametrize(
    "manifest",
    [
        b"\xdf\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff" + pack("a") + pack(ONE),
        b"\xde\xff\xff" + b"\xa0" * 1000,
        b"\x8f" + b"\xa0\xa0" * 15,
    ],
)
def test_a_header_that_promises_more_than_there_is_is_malformed(manifest: bytes) -> None:
    assert refusal_of(with_manifest(manifest))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize(
    "manifest",
    [
        b"\x91" * 1_000_000 + b"\xc0",
        b"\x81\xa0" * 1_000_000 + b"\xc0",
        b"\x81\xa1a" + b"\x91" * 1_000_000 + b"\xc0",
        b"\x81" * 1_000_000 + b"\xc0" * 1_000_000,
    ],
)
def test_a_nesting_bomb_is_malformed(manifest: bytes) -> None:
    assert refusal_of(with_manifest(manifest))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize("path", ["\0", "a\0b", "a/b\0"])
def test_nul_in_a_path_is_refused(path: str) -> None:
    assert refusal_of(pack(PLAIN | {"manifest": {"fine": ONE, path: ONE}})) == (
        "BAD_TEXT",
        "manifest: a path holds NUL",
    )


def test_a_path_may_be_as_long_as_its_limit_and_no_longer() -> None:
    limits = Limits(path_characters=9)
    for length in (8, 9):
        fine = decode_snapshot(pack(PLAIN | {"manifest": {"ü" * length: ONE}}))
        check(fine, verify_id=False, limits=limits)

    long = decode_snapshot(pack(PLAIN | {"manifest": {"fine": ONE, "ü" * 10: ONE}}))
    with pytest.raises(Rejection) as caught:
        check(long, verify_id=False, limits=limits)

    assert str(caught.value) == ("LIMIT_EXCEEDED: manifest: a path is longer than 9 characters")


@pytest.mark.parametrize("path", ["", "/a", "a/../b", ".git/config"])
def test_a_path_that_no_checkout_may_hold_is_refused(path: str) -> None:
    code, message = refusal_of(pack(PLAIN | {"manifest": {"fine": ONE, path: ONE}}))

    assert (code, message.startswith(f"manifest: {path!r}: ")) == ("BAD_PATH", True)


def test_a_snapshot_has_each_of_its_keys_once_and_not_too_many() -> None:
    pair = pack("snapshot_id") + pack(ONE)
    twice = b"\x83" + pair + pack("manifest") + b"\x80" + pair
    many = PLAIN | {str(number): 0 for number in range(MAX_FIELDS + 1 - len(PLAIN))}

    assert refusal_of(twice) == ("MPACK_MALFORMED", "a key occurs twice")
    assert refusal_of(pack(many)) == (
        "LIMIT_EXCEEDED",
        f"{MAX_FIELDS + 1} keys, where {MAX_FIELDS} are allowed",
    )
    many.popitem()
    assert whole(decode_snapshot(pack(many))) == PLAIN["manifest"]


@pytest.mark.parametrize("path", ["a\\u0000", "a\\b", '"', " ", "..a", "ü/☃/\U0001f3b5", "\x01"])
def test_any_other_path_survives_the_way_through_json(path: str) -> None:
    snapshot = decode_snapshot(pack(PLAIN | {"manifest": {path: ONE}}))

    check(snapshot, verify_id=False)
    assert json.loads(snapshot.manifest.json()) == {path: f"sha256:{ONE}"}


@pytest.mark.parametrize("bad", ["", "1" * 63, "F" * 64, "md5:" + "1" * 64, "x" * 1_000_000])
def test_a_bad_id_is_named(bad: str) -> None:
    assert refusal_of(pack(PLAIN | {"snapshot_id": bad})) == (
        "BAD_ID",
        f"snapshot_id: {repr(bad)[:120]} is not an id",
    )


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_its_id_is_the_hash_of_the_manifest_as_it_was_spelled(prefix: str) -> None:
    hex_digest = joined("a", ONE, "b/é", TWO)
    snapshot = decode_snapshot(pack(PLAIN | {"snapshot_id": prefix + hex_digest}))

    assert check(snapshot, verify_id=True) is True


def test_an_unknown_scheme_is_refused_with_what_was_expected_or_only_noted() -> None:
    assert check(decode_snapshot(pack(PLAIN)), verify_id=False) is False

    assert refusal_of(pack(PLAIN), verify_id=True) == (
        "SNAPSHOT_ID_MISMATCH",
        f"the manifest hashes to {joined('a', ONE, 'b/é', TWO)}, the snapshot_id is {ONE}",
    )


def test_the_stored_manifest_has_its_ids_in_the_stored_spelling() -> None:
    snapshot = decode_snapshot(pack(PLAIN))

    assert json.loads(snapshot.manifest.json()) == {"a": f"sha256:{ONE}", "b/é": TWO}
    assert whole(snapshot) == {"a": ONE, "b/é": TWO}
