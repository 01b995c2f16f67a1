"""How much one mpack may hold. The counts are judged from headers, before any element is read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper bounds that keep the memory of a run flat, whatever a stranger packs."""

    mpack_bytes: int = 16 << 30
    objects: int = 2_000_000  # held, or named; 48 bytes of index, 100 while unpacking, each
    snapshots: int = 500_000
    commits: int = 500_000
    commit_bytes: int = 64 << 20  # one commit, packed, and what is kept of it as JSON
    snapshot_bytes: int = 64 << 20  # one snapshot, half a million paths; takes 20 times as much
    text_bytes: int = 8 << 20  # one text or binary inside of either: the reader's buffer
    path_characters: int = 4096  # one path of a manifest
