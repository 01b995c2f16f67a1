"""What an mpack holds and what it leans on: filled item by item, as the reader goes over it.

Each item is checked by itself here, but for snapshots and commits that the repository holds: they
were checked when they came, nothing of them is used again, and a push repeats most of them (ADR 7).
Whether everything that is named is there is decided afterwards.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import check_commit, commit_id_of, decode_commit
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.hashing import ContentVerifier
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline.domain.questions import InBulk
from musehub_pipeline.domain.slices import Slice, Slices
from musehub_pipeline.domain.snapshot import check_snapshot, decode_snapshot, snapshot_id_of

Kind = Literal["object", "snapshot", "commit"]


class Repo(Protocol):
    """What is known already, asked for many digests at a time."""

    def held(self, kind: Kind, digests: Collection[bytes]) -> set[bytes]:
        """Return those of `digests` that the repository holds."""
        ...

    def object_sizes(self, digests: Collection[bytes]) -> Mapping[bytes, int]:
        """Return the sizes in bytes of those that are stored, whoever holds them."""
        ...


@dataclass(kw_only=True)
class Inventory:
    """The mpack reader's visitor: verifies every hash and keeps places, not contents.

    `verifier` is None where an mpack of these very bytes was verified before: its contents are not
    hashed again. `repo` is asked what is known already. No more different objects may be named than
    may be held. Without `pass_over` what the repo holds is checked and listed like what is new.
    With `verify_ids` false, a commit or snapshot id of an unknown scheme is counted, not rejected.
    """

    verifier: ContentVerifier | None
    repo: Repo
    verify_ids: bool
    limits: Limits
    pass_over: bool = True
    objects: Slices = field(default_factory=Slices)  # all, one for each item of the list
    missing_objects: Slices = field(default_factory=Slices)  # that storage lacks
    unheld_objects: Slices = field(default_factory=Slices)  # that the repo does not hold yet
    unproven_objects: Slices = field(default_factory=Slices)  # stored by the word of a row alone
    snapshots: Slices = field(default_factory=Slices)  # that the repo lacks
    commits: Slices = field(default_factory=Slices)  # that the repo lacks
    held_snapshots: set[bytes] = field(default_factory=set)  # that were passed over
    held_commits: set[bytes] = field(default_factory=set)  # that were passed over
    parents: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # of each new commit
    named_objects: set[bytes] = field(default_factory=set)  # by new snapshots
    named_snapshots: set[bytes] = field(default_factory=set)  # by new commits
    unverified_ids: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._last_named: set[str] = set()  # by the last manifest
        self._manifests = Manifests()
        self._objects = InBulk(ask=self._ask_objects, take=self._take_objects)
        repo = self.repo if self.pass_over else None
        self._snapshots = _Unheld("snapshot", repo, self.held_snapshots, self._check_snapshot)
        self._commits = _Unheld("commit", repo, self.held_commits, self._check_commit)

    def object(self, object_id: str, offset: int, size: int) -> None:
        """Check an object's id, and have its content hashed, now or later."""
        ids.check_id("object_id", object_id)
        place = Slice(ids.digest_of(object_id), offset, size)
        if self.verifier is not None:
            self.verifier.add(len(self.objects), place)
        self.objects.append(*place)
        self._objects.add(place)

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
        self._objects.finish()
        if self.verifier is not None:
            self.verifier.finish()

    def _ask_objects(self, places: list[Slice]) -> tuple[set[bytes], Mapping[bytes, int]]:
        digests = {place.digest for place in places}
        return self.repo.held("object", digests), self.repo.object_sizes(digests)

    def _take_objects(
        self, places: list[Slice], answer: tuple[set[bytes], Mapping[bytes, int]]
    ) -> None:
        held, sizes = answer
        for place in places:
            # What is stored in another size is not trusted: it is put, and healed.
            if sizes.get(place.digest) != place.size:
                self.missing_objects.append(*place)
            elif place.digest not in held or not self.pass_over:
                self.unproven_objects.append(*place)
            if place.digest not in held:
                self.unheld_objects.append(*place)

    def _check_snapshot(self, digest: bytes, offset: int, raw: bytes) -> None:
        snapshot = decode_snapshot(raw)
        self.unverified_ids += not check_snapshot(
            snapshot,
            verify_id=self.verify_ids,
            limits=self.limits,
            manifests=self._manifests,
        )
        # Snapshots that follow each other share most of what they name.
        named = set(snapshot.manifest.values())
        for object_id in named - self._last_named:
            ids.check_id("manifest", object_id)
            self.named_objects.add(ids.digest_of(object_id))
        self._last_named = named
        if len(self.named_objects) > self.limits.objects:
            raise Rejection(
                Fault.LIMIT_EXCEEDED,
                f"more than {self.limits.objects} different objects are named",
            )
        self.snapshots.append(digest, offset, len(raw))

    def _check_commit(self, digest: bytes, offset: int, raw: bytes) -> None:
        commit = decode_commit(raw)
        self.unverified_ids += not check_commit(
            commit, raw, verify_id=self.verify_ids, limits=self.limits
        )
        self.named_snapshots.add(ids.digest_of(commit.snapshot_id))
        self.parents.setdefault(digest, tuple(map(ids.digest_of, commit.parents)))
        self.commits.append(digest, offset, len(raw))


class _Item(NamedTuple):
    number: int
    digest: bytes
    offset: int
    raw: bytes


class _Unheld:
    """Checks those items of a list that the repo does not hold; the others it passes over.

    Without a repo it passes over nothing.
    """

    def __init__(
        self,
        kind: Kind,
        repo: Repo | None,
        passed_over: set[bytes],
        check: Callable[[bytes, int, bytes], None],
    ) -> None:
        self._kind: Kind = kind
        self._repo = repo
        self._passed_over = passed_over
        self._check = check
        self._number = 0
        self._items = InBulk(ask=self._ask, take=self._take)

    def add(self, any_id: str, offset: int, raw: bytes) -> None:
        item = _Item(self._number, ids.digest_of(any_id), offset, raw)
        self._number += 1
        self._items.add(item, size_bytes=len(raw))

    def finish(self) -> None:
        self._items.finish()

    def _ask(self, items: list[_Item]) -> set[bytes]:
        if self._repo is None:
            return set()
        return self._repo.held(self._kind, {item.digest for item in items})

    def _take(self, items: list[_Item], held: set[bytes]) -> None:
        self._passed_over |= held
        for number, digest, offset, raw in items:
            if digest not in held:
                try:
                    self._check(digest, offset, raw)
                except Rejection as rejection:
                    raise rejection.at(f"{self._kind}s[{number}]") from rejection
