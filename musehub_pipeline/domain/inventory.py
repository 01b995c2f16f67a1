"""What an mpack holds and what it leans on: filled item by item, as the reader goes over it.

Each item is checked by itself here. Whether everything it names is there is decided afterwards, by
whoever knows what the repository holds.
"""

from dataclasses import dataclass, field

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import check_commit, decode_commit
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.hashing import ContentVerifier
from musehub_pipeline.domain.slices import Slices
from musehub_pipeline.domain.snapshot import check_snapshot, decode_snapshot


@dataclass(kw_only=True)
class Inventory:
    """The mpack reader's visitor: verifies every hash and keeps places, not contents.

    At most `max_named_objects` different objects may be named. With `verify_ids` false, a commit or
    snapshot id of an unknown scheme is counted, not rejected.
    """

    verifier: ContentVerifier
    verify_ids: bool
    max_named_objects: int
    counts: dict[str, int] = field(default_factory=dict)
    objects: Slices = field(default_factory=Slices)
    snapshots: Slices = field(default_factory=Slices)
    commits: Slices = field(default_factory=Slices)
    parents: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # of each commit
    named_objects: set[bytes] = field(default_factory=set)  # by manifests
    named_snapshots: set[bytes] = field(default_factory=set)  # by commits
    unverified_ids: int = 0
    _last_named: set[str] = field(default_factory=set)  # by the last manifest

    def count(self, kind: str, items: int) -> None:
        """Note the length of a list."""
        self.counts[kind] = items

    def object(self, object_id: str, offset: int, size: int, content: bytes | None) -> None:
        """Check an object's id and hand its content over to be hashed."""
        if not ids.is_id(object_id):
            raise Rejection(Fault.BAD_ID, f"object_id: {object_id!r:.120} is not an id")
        hex_digest = ids.hex_of(object_id)
        self.verifier.add(
            len(self.objects), hex_digest, (offset, size) if content is None else content
        )
        self.objects.append(bytes.fromhex(hex_digest), offset, size)

    def snapshot(self, offset: int, raw: bytes) -> None:
        """Check a snapshot and note the objects that it names."""
        snapshot = decode_snapshot(raw)
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
        self.snapshots.append(ids.digest_of(snapshot.snapshot_id), offset, len(raw))

    def commit(self, offset: int, raw: bytes) -> None:
        """Check a commit and note the snapshot and the parents that it names."""
        commit = decode_commit(raw)
        self.unverified_ids += not check_commit(commit, raw, verify_id=self.verify_ids)
        digest = ids.digest_of(commit.commit_id)
        self.named_snapshots.add(ids.digest_of(commit.snapshot_id))
        self.parents.setdefault(digest, tuple(map(ids.digest_of, commit.parents)))
        self.commits.append(digest, offset, len(raw))
