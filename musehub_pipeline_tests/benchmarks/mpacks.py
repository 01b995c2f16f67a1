"""Mpacks of any size, the same bytes every time: a made-up history as real clients pack one.

Files live at a fixed set of paths and are rewritten one after the other; a snapshot is taken every
few rewrites, and each is named by one commit or by several. Ids are bare hex and commits come tip
first, as from the public client.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from musehub_pipeline.client.mpack_writer import MpackWriter
from musehub_pipeline.domain import ids

BRANCH = "main"

_BLOCK_BYTES = 4 << 20
_MERGE_EVERY = 20
_GOLDEN_RATIO = (1 + 5**0.5) / 2
_FIRST_COMMIT_AT = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What an mpack holds.

    Sizes of objects lie between `least_bytes` and `most_bytes`; the higher `skew`, the more of them
    are small: their mean is `least + (most - least) / (skew + 1)`.

    With `held`, the mpack is thin: the repo has the first `held` commits, and what they brought is
    left out.
    """

    objects: int
    commits: int
    snapshots: int
    paths: int = 45
    least_bytes: int = 128
    most_bytes: int = 100 << 10
    skew: int = 5
    held: int = 0
    message_bytes: int = 0  # of each commit, at the least
    snapshots_by_id: bool = False  # as the public client sorts them, not as they were taken
    seed: int = 2


@dataclass(frozen=True, kw_only=True)
class Mpack:
    """An mpack on disk, and what a push of it has to say."""

    path: Path
    key: str
    size_bytes: int
    head: str
    objects: int
    snapshots: int
    commits: int


class _Committed(NamedTuple):
    number: int
    commit_id: str
    parents: tuple[str, ...]


class _Hashed(NamedTuple):
    parents: tuple[str, ...]
    snapshot_id: str
    message: str
    committed_at: str
    author: str


def mixed(megabytes: int) -> Shape:
    """Return the shape of an everyday mpack of about so many megabytes, a tenth of it manifests."""
    return Shape(objects=50 * megabytes, commits=50 * megabytes, snapshots=30 * megabytes)


def write_mpack(path: Path, shape: Shape) -> Mpack:
    """Write the mpack of that shape."""
    history = _History(shape)
    with MpackWriter(path) as writer:
        for snapshot in history.snapshots():
            writer.add_snapshot(snapshot)
        for number in range(history.first_object, shape.objects):
            writer.add_object(history.object_ids[number], history.content(number))
        for committed in reversed(history.log[shape.held :]):
            writer.add_commit(history.commit(committed))
        head = history.log[-1].commit_id
        key, size_bytes = writer.finish(branch_heads={BRANCH: head})
        return Mpack(
            path=path,
            key=key,
            size_bytes=size_bytes,
            head=head,
            objects=writer.objects,
            snapshots=writer.snapshots,
            commits=writer.commits,
        )


class _History:
    """All commits, snapshots and objects of a shape, of which an mpack may leave out the oldest."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._block = random.Random(shape.seed).randbytes(_BLOCK_BYTES)
        spread = shape.most_bytes - shape.least_bytes
        # Not random but evenly scattered, so that ten times the objects are ten times the bytes.
        self._sizes = [
            shape.least_bytes + round(spread * (n * _GOLDEN_RATIO % 1) ** shape.skew)
            for n in range(1, shape.objects + 1)
        ]
        self._paths = [
            f"src/{sha256(bytes([n % 16])).hexdigest()[:8]}/module_{n:05}/score.mid"
            for n in range(shape.paths)
        ]
        self.object_ids = [
            sha256(self.content(number)).hexdigest() for number in range(shape.objects)
        ]
        self._snapshot_ids = [
            ids.snapshot_hex(self._manifest(snapshot)) for snapshot in range(shape.snapshots)
        ]
        self.first_snapshot = self._snapshot_of(shape.held) if shape.held else 0
        self.first_object = self._objects_until(self.first_snapshot - 1)
        self.log: list[_Committed] = []
        for number in range(shape.commits):
            parents = self._parents(number)
            fields = self._commit(number, "", parents)
            hashed = {name: fields[name] for name in _Hashed._fields if name != "parents"}
            commit_id = ids.commit_hex(_Hashed(parents=parents, **hashed))
            self.log.append(_Committed(number, commit_id, parents))

    def content(self, number: int) -> bytes:
        """Return an object's content: the like of no other's, and not compressible."""
        size = self._sizes[number]
        start = number * 4099 % (_BLOCK_BYTES - size)
        return (number.to_bytes(8, "big") + self._block[start : start + size])[:size]

    def snapshots(self) -> Iterator[dict[str, Any]]:
        """Yield the snapshot maps."""
        snapshots = range(self.first_snapshot, self._shape.snapshots)
        by_id = self._snapshot_ids.__getitem__ if self._shape.snapshots_by_id else None
        for snapshot in sorted(snapshots, key=by_id):
            yield {
                "snapshot_id": self._snapshot_ids[snapshot],
                "manifest": self._manifest(snapshot),
                "created_at": self._time(snapshot),
            }

    def commit(self, committed: _Committed) -> dict[str, Any]:
        """Return a commit map, with the keys of the public client."""
        return self._commit(*committed)

    def _commit(self, number: int, commit_id: str, parents: tuple[str, ...]) -> dict[str, Any]:
        first, second = (*parents, None, None)[:2]
        path = self._paths[number % len(self._paths)]
        return {
            "commit_id": commit_id,
            "repo_id": "benchmark",
            "branch": BRANCH,
            "snapshot_id": self._snapshot_ids[self._snapshot_of(number)],
            "message": self._message(number),
            "committed_at": self._time(number),
            "parent_commit_id": first,
            "parent2_commit_id": second,
            "author": f"composer-{number % 7}",
            "metadata": {"tempo": "120", "key": "D minor"},
            "structured_delta": {"ops": [{"op": "replace", "address": path}], "domain": "midi"},
            "sem_ver_bump": "patch",
            "breaking_changes": [],
            "agent_id": "",
            "model_id": "",
            "toolchain_id": "",
            "prompt_hash": "",
            "signature": "",
            "signer_key_id": "",
            "format_version": 5,
            "reviewed_by": [],
            "test_runs": 0,
        }

    def _message(self, number: int) -> str:
        message = f"Rework bar {number} of the second movement\n\nIt was too loud."
        missing = self._shape.message_bytes - len(message)
        start = number * 4099 % _BLOCK_BYTES
        return message + self._block[start : start + max(0, missing) // 2].hex()

    def _parents(self, number: int) -> tuple[str, ...]:
        if number == 0:
            return ()
        second = number - _MERGE_EVERY // 2
        if number % _MERGE_EVERY or second < 0:
            return (self.log[number - 1].commit_id,)
        return (self.log[number - 1].commit_id, self.log[second].commit_id)

    def _snapshot_of(self, commit: int) -> int:
        return commit * self._shape.snapshots // self._shape.commits

    def _objects_until(self, snapshot: int) -> int:
        """Return how many objects the snapshots up to this one have brought."""
        return (snapshot + 1) * self._shape.objects // self._shape.snapshots

    def _manifest(self, snapshot: int) -> dict[str, str]:
        """Return what lies at each path: the last object that was written there."""
        objects = self._objects_until(snapshot)
        written = range(max(0, objects - len(self._paths)), objects)
        return {self._paths[n % len(self._paths)]: self.object_ids[n] for n in written}

    def _time(self, number: int) -> str:
        return (_FIRST_COMMIT_AT + timedelta(minutes=number)).isoformat()
