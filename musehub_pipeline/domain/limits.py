"""How much one mpack may hold. The counts are judged from headers, before any element is read."""

from dataclasses import dataclass

MAX_GROWTH = 4
"""Of a commit or a manifest, from what was pushed to what PostgreSQL gives back as text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper bounds that keep the memory of a run flat, whatever a stranger packs."""

    mpack_bytes: int = 16 << 30
    objects: int = 2_000_000  # held, or named
    snapshots: int = 500_000
    commits: int = 500_000
    commit_bytes: int = 64 << 20  # one commit, packed, and what is kept of it as JSON
    snapshot_bytes: int = 64 << 20  # one snapshot, half a million paths
    text_bytes: int = 8 << 20  # one text or binary inside of either: the reader's buffer
    path_characters: int = 4096  # one path of a manifest
