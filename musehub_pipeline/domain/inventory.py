"""What an mpack holds and what it leans on: filled item by item, as the reader goes over it.

Each item is checked by itself here, but for snapshots and commits that the repository holds: they
were checked when they came, nothing of them is used again, and a push repeats most of them (ADR 7).
Whether everything that is named is there is decided afterwards.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import check_commit, commit_id_of, decode_commit
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.hashing import ContentVerifier
from musehub_pipeline.domain.slices import Slices
from musehub_pipeline.domain.snapshot import check_snapshot, decode_snapshot, snapshot_id_of

Kind = Literal["object", "snapshot", "commit"]
Held = Callable[[Kind, Collection[bytes]], set[bytes]]
"""Tells which of some digests the repository holds."""

_WAITING_ITEMS = 2_000
_WAITING_BYTES = 4 << 20


class _Item(NamedTuple):
    number: int
    digest: bytes
    offset: int
    raw: bytes


class _Waiting:
    """Items of one kind that wait to be checked until it is asked, in bulk, which are held."""

    def __init__(self, kind: Kind, held: Held, check: Callable[[_Item], None]) -> None:
        self._kind: Kind = kind
        self._held = held
        self._check = check
        self._items: list[_Item] = []
        self._number = 0
        self._bytes = 0
        self.passed_over: set[bytes] = set()

    def add(self, any_id: str, offset: int, raw: bytes) -> None:
        self._items.append(_Item(self._number, ids.digest_of(any_id), offset, raw))
        self._number += 1
        self._bytes += len(raw)
        if len(self._items) >= _WAITING_ITEMS or self._bytes >= _WAITING_BYTES:
            self.finish()

    def finish(self) -> None:
        items, self._items, self._bytes = self._items, [], 0
        held = self._held(self._kind, {item.digest for item in items})
        self.passed_over |= held
        for item in items:
            if item.digest not in held:
                try:
                    self._check(item)
                except Rejection as rejection:
                    raise rejection.at(f"{self._kind}s[{item.number}]") from rejection


@dataclass(kw_only=True)
class Inventory:
    """The mpack reader's visitor: verifies every hash and keeps places, not contents.

    `held` tells which snapshots and commits need no checking. At most `max_named_objects` different
    objects may be named. With `verify_ids` false, a commit or snapshot id of an unknown scheme is
    counted, not rejected.
    """

    verifier: ContentVerifier
    held: Held
    verify_ids: bool
    max_named_objects: int
    counts: dict[str, int] = field(default_factory=dict)
    objects: Slices = field(default_factory=Slices)
    snapshots: Slices = field(default_factory=Slices)  # that the repo lacks, like ...
    commits: Slices = field(default_factory=Slices)  # ... these
    parents: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # of each such commit
    named_objects: set[bytes] = field(default_factory=set)  # by such manifests
    named_snapshots: set[bytes] = field(default_factory=set)  # by such commits
    unverified_ids: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._last_named: set[str] = set()  # by the last manifest
        self._snapshots = _Waiting("snapshot", self.held, self._check_snapshot)
        self._commits = _Waiting("commit", self.held, self._check_commit)

    @property
    def held_snapshots(self) -> set[bytes]:
        """The snapshots of the mpack that the repo holds already."""
        return self._snapshots.passed_over

    @property
    def held_commits(self) -> set[bytes]:
        """The commits of the mpack that the repo holds already."""
        return self._commits.passed_over

    def count(self, kind: str, items: int) -> None:
        """Note the length of a list."""
        self.counts[kind] = items

    def object(self, object_id: str, offset: int, size: int) -> None:
        """Check an object's id, and have its content hashed, now or later."""
        if not ids.is_id(object_id):
            raise Rejection(Fault.BAD_ID, f"object_id: {object_id!r:.120} is not an id")
        hex_digest = ids.hex_of(object_id)
        self.verifier.add(len(self.objects), hex_digest, offset, size)
        self.objects.append(bytes.fromhex(hex_digest), offset, size)

    def snapshot(self, offset: int, raw: bytes) -> None:
        """Check a snapshot, now or later, unless it is held, and note the objects that it names."""
        self._snapshots.add(snapshot_id_of(raw), offset, raw)

    def commit(self, offset: int, raw: bytes) -> None:
        """Check a commit, now or later, unless it is held, and note what it names."""
        self._commits.add(commit_id_of(raw), offset, raw)

    def finish(self) -> None:
        """Check whatever has not been checked yet.

        Raises:
            Rejection: as any of the methods above.
        """
        self._snapshots.finish()
        self._commits.finish()
        self.verifier.finish()

    def _check_snapshot(self, item: _Item) -> None:
        snapshot = decode_snapshot(item.raw)
        self.unverified_ids += not check_snapshot(snapshot, verify_id=self.verify_ids)
        # Snapshots that follow each other share most of what they name.
        named = set(snapshot.manifest.values())
        for object_id in named - self._last_named:
            if not ids.is_id(object_id):
                raise Rejection(Fault.BAD_ID, f"manifest: {object_id!r:.120} is not an id")
            self.named_objects.add(ids.digest_of(object_id))
        self._last_named = named
        if len(self.named_objects) > self.max_named_objects:
            raise Rejection(
                Fault.LIMIT_EXCEEDED,
                f"more than {self.max_named_objects} different objects are named",
            )
        self.snapshots.append(item.digest, item.offset, len(item.raw))

    def _check_commit(self, item: _Item) -> None:
        commit = decode_commit(item.raw)
        self.unverified_ids += not check_commit(commit, item.raw, verify_id=self.verify_ids)
        self.named_snapshots.add(ids.digest_of(commit.snapshot_id))
        self.parents.setdefault(item.digest, tuple(map(ids.digest_of, commit.parents)))
        self.commits.append(item.digest, item.offset, len(item.raw))
