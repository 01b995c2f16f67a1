"""Histories to push: small, valid by default, in every spelling that clients use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgpack


def joined(*fields: str) -> str:
    """Hash fields as Muse does, written out here so that the tests do not trust the pipeline."""
    return sha256("\0".join(fields).encode()).hexdigest()


@dataclass
class History:
    """Commits with their snapshots and objects, as a client would pack them."""

    prefix: str = "sha256:"
    hash_author: bool = True  # the newer of the two commit id schemes
    objects: dict[str, bytes] = field(default_factory=dict)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add_object(self, content: bytes) -> str:
        object_id = self.prefix + sha256(content).hexdigest()
        self.objects[object_id] = content
        return object_id

    def add_snapshot(self, files: Mapping[str, bytes]) -> str:
        manifest = {path: self.add_object(content) for path, content in files.items()}
        pairs = sorted(f"{path}\0{object_id}" for path, object_id in manifest.items())
        snapshot_id = self.prefix + joined(*pairs)
        self.snapshots[snapshot_id] = manifest
        return snapshot_id

    def commit(
        self,
        files: Mapping[str, bytes],
        *,
        parents: Iterable[str] = (),
        message: str = "a change",
        author: str = "Ada <ada@example.org>",
        committed_at: str = "2026-03-01T12:00:00+01:00",
        branch: str = "main",
        **more: Any,
    ) -> str:
        """Add a commit and return its id."""
        parents = list(parents)
        snapshot_id = self.add_snapshot(files)
        hashed = ["\0".join(sorted(parents)), snapshot_id, message, committed_at]
        commit_id = self.prefix + joined(*hashed, *([author] if self.hash_author else []))
        self.commits[commit_id] = {
            "commit_id": commit_id,
            "branch": branch,
            "snapshot_id": snapshot_id,
            "message": message,
            "committed_at": committed_at,
            "parent_commit_id": parents[0] if parents else None,
            "parent2_commit_id": parents[1] if len(parents) > 1 else None,
            "author": author,
            "metadata": {},
            **more,
        }
        return commit_id

    def content(self, *, without: "History | None" = None) -> dict[str, Any]:
        """Return the mpack as a map, tip first; what `without` has is left out: a thin mpack."""
        objects = without.objects if without else {}
        snapshots = without.snapshots if without else {}
        commits = without.commits if without else {}
        return {
            "commits": [c for i, c in reversed(self.commits.items()) if i not in commits],
            "snapshots": [
                {"snapshot_id": i, "manifest": m, "created_at": "2026-03-01T11:00:00+00:00"}
                for i, m in self.snapshots.items()
                if i not in snapshots
            ],
            "objects": [
                {"object_id": i, "content": c} for i, c in self.objects.items() if i not in objects
            ],
        }

    def mpack(self, *, without: "History | None" = None, **replaced: Any) -> bytes:
        """Return the packed mpack, with some of its lists replaced."""
        return pack(self.content(without=without) | replaced)

    def copy(self) -> "History":
        return History(
            prefix=self.prefix,
            hash_author=self.hash_author,
            objects=dict(self.objects),
            snapshots=dict(self.snapshots),
            commits=dict(self.commits),
        )


def pack(content: object) -> bytes:
    return msgpack.packb(content, use_bin_type=True)


def small_history(prefix: str = "sha256:", *, hash_author: bool = True) -> History:
    """8 files of 128 bytes, 4 commits, 2 files changed a commit."""
    history = History(prefix=prefix, hash_author=hash_author)
    files = {f"src/file{n}.txt": bytes([n]) * 128 for n in range(8)}
    parents: list[str] = []
    for n in range(4):
        files |= {
            f"src/file{f}.txt": bytes([100 + n * 2 + f % 2]) * 128 for f in (2 * n, 2 * n + 1)
        }
        parents = [
            history.commit(
                files,
                parents=parents,
                message=f"commit {n}",
                committed_at=f"2026-03-0{n + 1}T12:00:00+00:00",
            )
        ]
    return history
