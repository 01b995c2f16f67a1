"""Manifests: judged alike, whether they are built as a whole or gone over in portions."""

import json
from collections.abc import Mapping
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from musehub_pipeline.domain import manifest as module
from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.ids import PREFIX, snapshot_hex
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.manifest import Manifest
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline_tests.factories import pack

ONE, TWO = "1" * 64, PREFIX + "2" * 64
LIMITS = Limits(path_characters=400)

names = st.text("ab.Gig~1\u200c\\🎵\x01é ", max_size=6)
paths = st.lists(names, max_size=4).map("/".join) | st.sampled_from(["\0", "a" * 401, "a" * 400])
values = st.sampled_from([ONE, TWO, "no id"])
entries = st.lists(st.tuples(paths, values), max_size=12)


def packed(pairs: list[tuple[str, Any]]) -> memoryview:
    """Return a map in which a key may come twice."""
    header = b"\xdf" + len(pairs).to_bytes(4)
    return memoryview(header + b"".join(pack(path) + pack(value) for path, value in pairs))


def judged(raw: memoryview, *, large_bytes: int) -> tuple[str, Any]:
    """Return the digest and the entries of a manifest, or why it is refused."""
    try:
        manifest = Manifest(raw, large_bytes=large_bytes)
        digest = manifest.check(limits=LIMITS, manifests=Manifests())
    except Rejection as rejection:
        return rejection.fault.value, rejection.message
    portions = list(manifest.portions())
    whole = {path: value for portion in portions for path, value in portion.items()}
    assert len(whole) == sum(map(len, portions))
    stored = {path: PREFIX + value[-64:] for path, value in whole.items()}
    assert json.loads(manifest.json()) == stored
    return digest, whole


@pytest.mark.parametrize("large_bytes", [0, module.LARGE_BYTES])
def test_no_order_of_paths_that_a_client_chose_gets_to_the_database(large_bytes: int) -> None:
    """In one that was made for it, 40,000 paths took PostgreSQL fourteen times as long."""
    paths = [f"{number * 7919 % 2000:04}" for number in range(2000)]

    kept = json.loads(
        Manifest(packed([(path, TWO) for path in paths]), large_bytes=large_bytes).json()
    )

    assert kept == dict.fromkeys(paths, TWO)
    assert list(kept) not in (paths, sorted(paths))


@given(entries, st.integers(1, 300))
@example([("a/b", ONE), ("a", ONE)], 1)
@example([("a", ONE), ("a", TWO)], 1)
@example([("a", ONE), ("a" * 400, ONE), ("b", TWO)], 80)
def test_both_ways_agree(pairs: list[tuple[str, str]], portion_bytes: int) -> None:
    raw = packed(pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PORTION_BYTES", portion_bytes)
        large = judged(raw, large_bytes=0)
    small = judged(raw, large_bytes=len(raw))

    faults = {"MPACK_MALFORMED", "BAD_TEXT", "LIMIT_EXCEEDED", "BAD_PATH"}
    # Of several faults, either may be named.
    assert large == small or {large[0], small[0]} <= faults
    if small[0] not in faults:
        assert small[0] == snapshot_hex(dict(pairs))


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ([("a", ONE), ("b", ONE), ("a", TWO)], "MPACK_MALFORMED"),
        ([("a", ONE), ("b", 7)], "MPACK_MALFORMED"),
        ([("a", ONE), (7, ONE)], "MPACK_MALFORMED"),
        ([("a", ONE), ("b", {"c": ONE})], "MPACK_MALFORMED"),
        ([("a", ONE), ("b", b"x" * 5_000)], "MPACK_MALFORMED"),
        ([("a", ONE), ("b\0", ONE)], "BAD_TEXT"),
        ([("a", ONE), ("b" * 401, ONE)], "LIMIT_EXCEEDED"),
        ([("a", ONE), ("b/../c", ONE)], "BAD_PATH"),
        ([("a/b", ONE), ("c", ONE), ("a", ONE)], "BAD_PATH"),
    ],
)
def test_a_fault_anywhere_in_a_large_one_is_found(pairs: list[tuple[Any, Any]], code: str) -> None:
    raw = packed(pairs)

    for portion_bytes in (1, 70, 200, 10_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_PORTION_BYTES", portion_bytes)
            assert judged(raw, large_bytes=0)[0] == code
    assert judged(raw, large_bytes=len(raw))[0] == code


@pytest.mark.parametrize("large_bytes", [0, 1 << 20])
def test_what_a_reader_gets_back_is_no_more_than_four_times_what_was_pushed(
    large_bytes: int,
) -> None:
    def pushed(plain: int) -> tuple[str, Any]:
        manifest = {"\x01" * 300: ONE, "a" * plain: ONE}
        return judged(memoryview(pack(manifest)), large_bytes=large_bytes)

    # Of JSON as PostgreSQL writes it: six bytes for each control character.
    def back(plain: int) -> int:
        return 6 * 300 + plain + 2 * len(f'"": "{PREFIX}{ONE}", ') - len(", ") + len("{}")

    def size(plain: int) -> int:
        return len(pack({"\x01" * 300: ONE, "a" * plain: ONE}))

    least = next(plain for plain in range(400) if back(plain) <= 4 * size(plain))
    assert pushed(least)[0] == snapshot_hex({"\x01" * 300: ONE, "a" * least: ONE})
    assert pushed(least - 1) == (
        "LIMIT_EXCEEDED",
        "manifest: more than 4 times its size as JSON",
    )


def test_a_large_manifest_has_no_more_json_than_two_snapshots_have_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest: Mapping[str, str] = {f"\x01{number:07}": ONE for number in range(100)}
    size = len(json.dumps(dict.fromkeys(manifest, PREFIX + ONE), separators=(",", ":")))
    raw = memoryview(msgpack.packb(manifest))
    monkeypatch.setattr(module, "_PORTION_BYTES", len(raw))

    def check(snapshot_bytes: int, large_bytes: int) -> str:
        limits = Limits(snapshot_bytes=snapshot_bytes)
        manifest = Manifest(raw, large_bytes=large_bytes)
        return manifest.check(limits=limits, manifests=Manifests())

    message = r"LIMIT_EXCEEDED: manifest: more than \d+ bytes as JSON"
    for portion_bytes in (len(raw), 200):
        monkeypatch.setattr(module, "_PORTION_BYTES", portion_bytes)
        for large_bytes in (0, len(raw)):
            assert check(-(-size // 2), large_bytes) == snapshot_hex(manifest)
            with pytest.raises(Rejection, match=message):
                check((size - 1) // 2, large_bytes)
