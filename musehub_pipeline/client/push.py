"""A push: the mpack goes to storage, then a job for each branch that it moves into the queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

import msgpack

from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.ids import PREFIX
from musehub_pipeline.domain.job import Job, payload_of
from musehub_pipeline.index.repos import Repo
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.queue.enqueue import Pushes


class NotAnMpack(PipelineError):
    """The file to push is not an mpack."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What one has to know of an mpack to push it."""

    mpack_key: str
    objects: int
    branch_heads: dict[str, str]


def outline(path: Path) -> Outline:
    """Read an mpack's key, its number of objects and the heads that it proposes.

    Raises:
        NotAnMpack: the file is no msgpack map, or cannot be read.
    """
    objects, heads = 0, {}
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            file.seek(0)
            unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=0)
            for _ in range(unpacker.read_map_header()):
                key = unpacker.unpack()
                if key == "objects":
                    objects = unpacker.read_array_header()
                    for _ in range(objects):
                        unpacker.skip()
                elif key == "branch_heads":
                    heads = unpacker.unpack()
                else:
                    unpacker.skip()
    except OSError as error:
        raise NotAnMpack(f"{path}: {error.strerror}") from error
    except (msgpack.UnpackException, ValueError) as error:
        raise NotAnMpack(f"{path}: not an mpack: {error or type(error).__name__}") from error
    if not isinstance(heads, dict):
        raise NotAnMpack(f"{path}: not an mpack: branch_heads is not a map")
    return Outline(mpack_key=PREFIX + digest, objects=objects, branch_heads=heads)


@dataclass(frozen=True, kw_only=True)
class PushReport:
    """What a push did."""

    mpack_key: str
    uploaded: bool  # false where storage had the mpack already
    job_ids: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report, JSON-ready."""
        return {
            "mpack_key": self.mpack_key,
            "uploaded": self.uploaded,
            "job_ids": list(self.job_ids),
        }


def push(
    path: Path,
    contents: Outline,
    repo: Repo,
    *,
    heads: Mapping[str, str],
    force: bool,
    pusher_id: str,
    objects: ObjectStorage,
    pushes: Pushes,
) -> PushReport:
    """Upload an mpack and enqueue one job a branch of `heads`, or one that moves none.

    `contents` is the outline of the file at `path`.

    The row comes last: a job never names an mpack that is not there.

    Raises:
        Rejection: BAD_PAYLOAD or BAD_TEXT, where a head is none that a job can have.
        Transient: storage or database could not be reached.
    """
    payload = partial(
        payload_of,
        mpack_key=contents.mpack_key,
        pusher_id=pusher_id,
        force=force,
        declared_objects_count=contents.objects,
    )
    moves = heads.items() or [(None, None)]
    payloads = [payload(branch=branch, head=head) for branch, head in moves]
    for each in payloads:
        Job.from_payload(each)  # else it would fail in the queue
    uploaded = objects.put_mpack(path, contents.mpack_key.removeprefix(PREFIX))
    job_ids = [pushes.enqueue(repo.repo_id, each) for each in payloads]
    return PushReport(mpack_key=contents.mpack_key, uploaded=uploaded, job_ids=tuple(job_ids))
