"""What an mpack holds and what it leans on: filled chunk by chunk, as the reader goes over it.

Each item is checked by itself here, but for snapshots and commits that the repository holds: they
were checked when they came, nothing of them is used again, and a push repeats most of them (ADR 7).
Whether everything that is named is there is decided afterwards.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.ancestry import Ancestry
from musehub_pipeline.domain.commit import check_commit, decode_commit
from musehub_pipeline.domain.digests import DigestSet
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.mpack import MpackItem
from musehub_pipeline.domain.names import Manifests
from musehub_pipeline.domain.places import Place, Places
from musehub_pipeline.domain.snapshot import check_snapshot, decode_snapshot

_REMEMBERED_NAMES = 100_000

MISSING = 1
"""The mark of an object that storage lacks."""
UNHELD = 2
"""The mark of an object that the repo does not hold yet, whoever else does."""
UNPROVEN = 4
"""The mark of an object that only its row says is stored: storage is asked before it is trusted."""


@dataclass(kw_only=True)
class Inventory:
    """Checks items and keeps places, not contents.

    The limit on objects also bounds how many different objects may be named. With `verify_ids`
    false, a commit or snapshot id of an unknown scheme is counted, not rejected.
    """

    verify_ids: bool
    limits: Limits
    objects: Places = field(default_factory=Places)  # all, with the marks above
    snapshots: Places = field(default_factory=Places)  # but for those that were passed over
    commits: Places = field(default_factory=Places)  # but for those that were passed over
    held_snapshots: DigestSet = field(default_factory=DigestSet)  # that were passed over
    held_commits: DigestSet = field(default_factory=DigestSet)  # that were passed over
    parents: Ancestry = field(default_factory=Ancestry)  # of each new commit
    named_objects: DigestSet = field(default_factory=DigestSet)  # by new snapshots
    named_snapshots: DigestSet = field(default_factory=DigestSet)  # by new commits
    unverified_ids: int = 0
    _marked: int = 0  # objects
    _manifests: Manifests = field(default_factory=Manifests)  # that were judged before
    _named: set[str] = field(default_factory=set)  # lately, as clients spelled it

    def add_objects(
        self,
        items: Iterable[MpackItem],
        *,
        held: Collection[bytes],
        proven: Collection[bytes],
        sizes: Mapping[bytes, int],
    ) -> None:
        """Add objects, whose contents are as their ids say.

        The repo holds those in `held`. For those in `proven`, a row is proof enough that the bytes
        are stored. `sizes` are those of the rows, whoever holds them.
        """
        for _, place, _ in items:
            digest = place.digest
            marks = 0 if digest in held else UNHELD
            # What is stored in another size is not trusted: it is put, and healed.
            if sizes.get(digest) != place.size:
                marks |= MISSING
            elif digest not in proven:
                marks |= UNPROVEN
            self._marked += marks > 0
            self.objects.append(place, marks)

    def add_snapshots(self, items: Iterable[MpackItem], *, held: Collection[bytes]) -> None:
        """Check snapshots and note the objects that they name; pass over those in `held`.

        Raises:
            Rejection: as `decode_snapshot` and `check_snapshot`, BAD_ID or LIMIT_EXCEEDED.
        """
        self.held_snapshots.update(held)
        _add_each(items, "snapshots", held, self._add_snapshot)

    def add_commits(self, items: Iterable[MpackItem], *, held: Collection[bytes]) -> None:
        """Check commits and note what they name; pass over those in `held`.

        Raises:
            Rejection: as `decode_commit` and `check_commit`.
        """
        self.held_commits.update(held)
        _add_each(items, "commits", held, self._add_commit)

    @property
    def new_items(self) -> int:
        """How many items there are of which anything is left to do."""
        return self._marked + len(self.snapshots) + len(self.commits)

    @property
    def size_bytes(self) -> int:
        """What all of it takes in memory, but for what is remembered to be fast."""
        tables = (self.objects, self.snapshots, self.commits, self.parents)
        named = (self.named_objects, self.named_snapshots)
        held = (self.held_snapshots, self.held_commits)
        return sum(part.size_bytes for part in (*tables, *named, *held))

    def check_named(self) -> None:
        """Check how many objects are named, once all snapshots are there.

        Raises:
            Rejection: LIMIT_EXCEEDED.
        """
        if len(self.named_objects) > self.limits.objects:
            raise self._too_many_named().at("snapshots")

    def forget_recent(self) -> None:
        """Let go of what is remembered only to be fast."""
        self._named, self._manifests = set(), Manifests()

    def _add_snapshot(self, place: Place, raw: bytes) -> None:
        snapshot = decode_snapshot(raw)
        if snapshot.manifest.is_large:
            self.forget_recent()
        self.unverified_ids += not check_snapshot(
            snapshot, verify_id=self.verify_ids, limits=self.limits, manifests=self._manifests
        )
        for portion in snapshot.manifest.portions():
            self._name(portion.values())
        self.snapshots.append(place)

    def _add_commit(self, place: Place, raw: bytes) -> None:
        commit = decode_commit(raw)
        self.unverified_ids += not check_commit(
            commit, raw, verify_id=self.verify_ids, limits=self.limits
        )
        self.named_snapshots.add(ids.digest_of(commit.snapshot_id))
        self.parents.append(place.digest, tuple(map(ids.digest_of, commit.parents)))
        self.commits.append(place)

    def _name(self, object_ids: Iterable[str]) -> None:
        # Snapshots share most objects, but clients sort them by id: neighbours share few.
        if len(self._named) > _REMEMBERED_NAMES:
            self._named.clear()
        for object_id in object_ids:
            if object_id not in self._named:
                ids.check_id("manifest", object_id)
                self._named.add(object_id)
                self.named_objects.add(ids.digest_of(object_id))
        if self.named_objects.surely_exceeds(self.limits.objects):
            raise self._too_many_named()

    def _too_many_named(self) -> Rejection:
        most = self.limits.objects
        return Rejection(Fault.LIMIT_EXCEEDED, f"more than {most} different objects are named")


def _add_each(
    items: Iterable[MpackItem],
    list_name: str,
    held: Collection[bytes],
    add: Callable[[Place, bytes], None],
) -> None:
    for number, place, raw in items:
        if place.digest not in held:
            try:
                add(place, raw)
            except Rejection as rejection:
                raise rejection.at(f"{list_name}[{number}]") from rejection
