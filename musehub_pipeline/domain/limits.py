"""How much one mpack may hold. The counts are judged from headers, before any element is read."""

from dataclasses import dataclass

MAX_GROWTH = 4
"""How many times its packed size a commit or manifest may have as text that PostgreSQL returns."""

MEMORY_GROWTH = 3
"""How many times its packed size a commit or snapshot takes in memory while it is judged."""

_OBJECT_MEMORY_BYTES = 110  # one object that the mpack holds and a snapshot names
_SETS_MEMORY_BYTES = 16 << 20  # the plain sets of digests that are not packed yet


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

    @property
    def batch_memory_bytes(self) -> int:
        """Memory for the tables of a batch and the item that is judged.

        An mpack can reach any one of the limits within it.
        """
        return max(
            _SETS_MEMORY_BYTES + _OBJECT_MEMORY_BYTES * self.objects,
            MEMORY_GROWTH * self._item_bytes,
        )

    @property
    def mpack_memory_bytes(self) -> int:
        """The same for an mpack that has a batch for itself."""
        return self.batch_memory_bytes + self._item_bytes

    @property
    def _item_bytes(self) -> int:
        return max(self.commit_bytes, self.snapshot_bytes)
