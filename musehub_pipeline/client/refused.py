"""Pushes that the pipeline refuses, each for a reason of its own: for `demo --with-failures`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

from musehub_pipeline.client.mpack_writer import MpackWriter
from musehub_pipeline.client.pack import CommitFields
from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault
from musehub_pipeline.domain.job import payload_of
from musehub_pipeline.index.repos import Repo
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.queue.enqueue import Pushes

_NOBODYS = ids.object_id(b"a commit that nobody pushed")
_COMMITTED_AT = "2026-03-01T12:00:00+01:00"


@dataclass(frozen=True, kw_only=True)
class RefusedPush:
    """A push, what is wrong with it, and how it ends; None: it is well, and another needs it."""

    about: str
    code: Fault | None
    branch: str = "main"
    files: Mapping[str, bytes] = field(default_factory=lambda: {"song.txt": b"la la la"})
    parents: tuple[str, ...] = ()
    wrong_bytes: bool = False
    cut_bytes: int = 0


REFUSED = (
    RefusedPush(about="a first push, which is well", code=None),
    RefusedPush(
        about="another first push to the same branch",
        code=Fault.NON_FAST_FORWARD,
        files={"song.txt": b"la le lu"},
    ),
    RefusedPush(about="its end did not arrive", code=Fault.MPACK_MALFORMED, cut_bytes=20),
    RefusedPush(
        about="an object's bytes are others than its id says",
        code=Fault.OBJECT_HASH_MISMATCH,
        wrong_bytes=True,
    ),
    RefusedPush(
        about="a file in a folder that git would run",
        code=Fault.BAD_PATH,
        files={".git/hooks/post-checkout": b"true"},
    ),
    RefusedPush(
        about="its parent was pushed by nobody", code=Fault.PARENT_NOT_HELD, parents=(_NOBODYS,)
    ),
    RefusedPush(about="its branch has no name that git takes", code=Fault.BAD_PAYLOAD, branch=".."),
)
"""All of them, in the order in which they are to be pushed."""


def push_refused(
    folder: Path, repo: Repo, *, pusher_id: str, objects: ObjectStorage, pushes: Pushes
) -> dict[str, RefusedPush]:
    """Push all of them to a repo, by way of a folder; return each by the id of its job.

    Raises:
        Transient: storage or database could not be reached.
    """
    jobs: dict[str, RefusedPush] = {}
    for number, refused in enumerate(REFUSED):
        path = folder / f"refused-{number}.mpack"
        head = _write(path, refused)
        with path.open("rb") as file:
            hex_digest = file_digest(file, "sha256").hexdigest()
        objects.put_mpack(path, hex_digest)
        payload = payload_of(
            mpack_key=ids.PREFIX + hex_digest, pusher_id=pusher_id, branch=refused.branch, head=head
        )
        jobs[pushes.enqueue(repo.repo_id, payload)] = refused
    return jobs


def _write(path: Path, refused: RefusedPush) -> str:
    """Write the mpack of a push, and return the commit that it proposes as the branch's head."""
    with MpackWriter(path) as writer:
        manifest = {name: ids.object_id(content) for name, content in refused.files.items()}
        for name, content in refused.files.items():
            writer.add_object(manifest[name], content[::-1] if refused.wrong_bytes else content)
        snapshot_id = ids.PREFIX + ids.snapshot_hex(manifest)
        writer.add_snapshot({"snapshot_id": snapshot_id, "manifest": manifest})
        commit = CommitFields(
            parents=refused.parents,
            snapshot_id=snapshot_id,
            message=refused.about,
            committed_at=_COMMITTED_AT,
            author="demo",
        )
        commit_id = ids.PREFIX + ids.commit_hex(commit)
        writer.add_commit(
            {
                "commit_id": commit_id,
                "branch": "main",
                "snapshot_id": snapshot_id,
                "message": commit.message,
                "committed_at": commit.committed_at,
                "parent_commit_id": next(iter(refused.parents), None),
                "author": commit.author,
            }
        )
        _, size = writer.finish(branch_heads={})
    os.truncate(path, size - refused.cut_bytes)
    return commit_id
