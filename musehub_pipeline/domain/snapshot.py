"""A snapshot: the whole tree of a commit, as a manifest from path to object id."""

from datetime import datetime

import msgspec

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import parse_timestamp
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline.domain.packed import decode, fields_of, header_of

# The least that an entry takes: a path of no bytes (1), and an id of 64 digits (2 + 64).
_LEAST_ENTRY_BYTES = 67


class _PackedSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    snapshot_id: str
    manifest: msgspec.Raw
    created_at: str | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One element of the mpack's `snapshots`, as the client spelled it."""

    snapshot_id: str
    manifest: dict[str, str]
    created_at: datetime | None


class _Identified(msgspec.Struct, frozen=True):
    snapshot_id: str


_decoder = msgspec.msgpack.Decoder(_PackedSnapshot)
_id_decoder = msgspec.msgpack.Decoder(_Identified)
_manifest_decoder = msgspec.msgpack.Decoder(dict[str, str])
_json = msgspec.json.Encoder()


def decode_snapshot(raw: bytes) -> Snapshot:
    """Decode one element of `snapshots`.

    The number of entries is judged by the manifest's header before any of them is built, so that
    memory stays within a small multiple of `raw`.

    Raises:
        Rejection: MPACK_MALFORMED or BAD_TIMESTAMP, naming the field.
    """
    packed = decode(_decoder, raw)
    fields_of(raw)  # of which none occurs twice
    manifest_bytes = memoryview(packed.manifest)
    header = header_of(manifest_bytes)
    entries = header.length if header.kind == "map" else 0
    if entries * _LEAST_ENTRY_BYTES > len(manifest_bytes):
        raise Rejection(Fault.MPACK_MALFORMED, "manifest: its entries are too short for ids")
    manifest = decode(_manifest_decoder, manifest_bytes)
    if len(manifest) != entries:
        raise Rejection(Fault.MPACK_MALFORMED, "manifest: a path occurs twice")
    created_at = packed.created_at and parse_timestamp(packed.created_at, where="created_at")
    return Snapshot(
        snapshot_id=packed.snapshot_id, manifest=manifest, created_at=created_at or None
    )


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
    caller, who sees each distinct one once.

    Raises:
        Rejection: BAD_ID, BAD_TEXT, BAD_PATH or LIMIT_EXCEEDED, naming the field, or, where
            `verify_id`, SNAPSHOT_ID_MISMATCH.
    """
    ids.check_id("snapshot_id", snapshot.snapshot_id)
    manifests.check(snapshot.manifest, longest=limits.path_characters)
    actual = ids.snapshot_hex(snapshot.manifest)
    known = actual == ids.hex_of(snapshot.snapshot_id)
    if not known and verify_id:
        raise Rejection(
            Fault.SNAPSHOT_ID_MISMATCH,
            f"the manifest hashes to {actual}, the snapshot_id is {snapshot.snapshot_id}",
        )
    return known


def manifest_json(snapshot: Snapshot) -> bytes:
    """Return the manifest as JSON, its ids in the stored spelling."""
    # ids.stored() by hand: a call for every file of every snapshot would take as long as the rest.
    prefix = ids.PREFIX
    stored = {path: prefix + value[-64:] for path, value in snapshot.manifest.items()}
    return _json.encode(stored)
