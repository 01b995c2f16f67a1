"""What must hold of any mpack: it is refused with a code, or all that is made of it is sound."""

import json
from typing import Any

from musehub_pipeline.domain.commit import decode_commit, row_of
from musehub_pipeline.domain.commit_meta import check_meta
from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.ids import hex_of
from musehub_pipeline.domain.inventory import Inventory
from musehub_pipeline.domain.limits import MAX_GROWTH, Limits
from musehub_pipeline.domain.manifest import Manifest
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline.domain.places import Place
from musehub_pipeline.domain.snapshot import decode_snapshot
from musehub_pipeline_tests.domain.reading import Bytes, read

_PIECE_BYTES = 16  # as small as can be: any number fits
_LIMITS = Limits(text_bytes=1 << 16, path_characters=400, commit_bytes=1 << 20)


def judge(mpack: bytes) -> str:
    """Judge an mpack as a run would, and plan all rows; return the code of its refusal, or ok.

    Raises:
        AssertionError: it was taken in, and something of it is not as it should be.
    """
    try:
        inventory = read(mpack, limits=_LIMITS)
    except Rejection as rejection:
        _judge_again(mpack)
        return rejection.fault.value
    _plan(mpack, inventory)
    return "ok"


def _judge_again(mpack: bytes) -> None:
    """Whoever takes in ids of unknown schemes checks all the rest."""
    try:
        inventory = read(mpack, verify_ids=False, limits=_LIMITS)
    except Rejection:
        return
    assert inventory.unverified_ids
    _plan(mpack, inventory)


def _plan(mpack: bytes, inventory: Inventory) -> None:
    source = Bytes(mpack)
    for place in inventory.snapshots.sorted_unique():
        _plan_snapshot(source.read(place.offset, place.size), place)
    for place in inventory.commits.sorted_unique():
        _plan_commit(source.read(place.offset, place.size), place)


def _plan_snapshot(raw: bytes, place: Place) -> None:
    snapshot = decode_snapshot(raw)
    assert hex_of(snapshot.snapshot_id) == place.digest.hex()
    stored = _loaded(snapshot.manifest.json())
    [entries] = snapshot.manifest.portions()
    assert {path: hex_of(value) for path, value in stored.items()} == {
        path: hex_of(value) for path, value in entries.items()
    }
    in_portions = Manifest(snapshot.manifest.packed, large_bytes=0)
    ways = [
        manifest.check(limits=_LIMITS, manifests=Manifests())
        for manifest in (snapshot.manifest, in_portions)
    ]
    assert ways[0] == ways[1]
    assert _loaded(in_portions.json()) == stored


def _plan_commit(raw: bytes, place: Place) -> None:
    row = row_of(decode_commit(raw), raw)
    assert row.commit_id[-64:] == place.digest.hex()
    meta = _loaded(row.commit_meta)
    assert "\0" not in json.dumps(meta, ensure_ascii=False)
    assert len(json.dumps(meta, ensure_ascii=False)) <= MAX_GROWTH * len(raw)
    check_meta(raw, max_json_bytes=_LIMITS.commit_bytes, piece_bytes=_PIECE_BYTES)


def _loaded(text: bytes | bytearray) -> dict[str, Any]:
    def no_constant(name: str) -> None:
        raise AssertionError(name)

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(text, parse_constant=no_constant, object_pairs_hook=each_once)
