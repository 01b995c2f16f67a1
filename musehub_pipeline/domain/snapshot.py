"""A snapshot: the whole tree of a commit, as a manifest from path to object id."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import parse_timestamp
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.manifest import Manifest
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline.domain.packed import check_depth, decode, fields_of


class _PackedSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    snapshot_id: str
    manifest: msgspec.Raw
    created_at: str | None = None


class Snapshot(NamedTuple):
    """One element of the mpack's `snapshots`, as the client spelled it."""

    snapshot_id: str
    manifest: Manifest
    created_at: datetime | None


class _Identified(msgspec.Struct, frozen=True):
    snapshot_id: str


_decoder = msgspec.msgpack.Decoder(_PackedSnapshot)
_id_decoder = msgspec.msgpack.Decoder(_Identified)


def decode_snapshot(raw: bytes) -> Snapshot:
    """Decode one element of `snapshots`.

    Raises:
        Rejection: MPACK_MALFORMED or BAD_TIMESTAMP, naming the field.
    """
    packed = decode(_decoder, raw)
    for name, value in fields_of(raw).items():  # of which none occurs twice
        if name not in _PackedSnapshot.__struct_fields__:  # the decoder's depth is its caller's
            check_depth(value)
    manifest = Manifest(memoryview(packed.manifest))
    created_at = packed.created_at and parse_timestamp(packed.created_at, where="created_at")
    return Snapshot(packed.snapshot_id, manifest, created_at or None)


def snapshot_id_of(raw: bytes) -> str:
    """Return the snapshot_id of one element of `snapshots`, and look at nothing else.

    Raises:
        Rejection: MPACK_MALFORMED or BAD_ID, naming the field.
    """
    snapshot_id = decode(_id_decoder, raw).snapshot_id
    ids.check_id("snapshot_id", snapshot_id)
    return snapshot_id


def check_snapshot(
    snapshot: Snapshot, *, verify_id: bool, limits: Limits, manifests: Manifests
) -> bool:
    """Check all that a snapshot says by itself, and tell whether its id could be recomputed.

    `manifests` are those that were judged before. That the manifest's values are ids is left to the
    caller.

    Raises:
        Rejection: BAD_ID or as `Manifest.check`, naming the field, or, where `verify_id`,
            SNAPSHOT_ID_MISMATCH.
    """
    ids.check_id("snapshot_id", snapshot.snapshot_id)
    actual = snapshot.manifest.check(limits=limits, manifests=manifests)
    known = actual == ids.hex_of(snapshot.snapshot_id)
    if not known and verify_id:
        raise Rejection(
            Fault.SNAPSHOT_ID_MISMATCH,
            f"the manifest hashes to {actual}, the snapshot_id is {snapshot.snapshot_id}",
        )
    return known
