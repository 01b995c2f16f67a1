"""Mpacks that lie in storage, read again for what they can prove."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.ids import is_id
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.mpack import Chunk, read_mpack
from musehub_pipeline.objects.mpacks import MpackFile
from musehub_pipeline.objects.object_storage import ObjectStorage

# What was accepted once is read, whatever the limits are today; nothing of it is kept in memory.
_LIMITS = Limits(
    mpack_bytes=1 << 62,
    objects=1 << 32,
    snapshots=1 << 32,
    commits=1 << 32,
    commit_bytes=1 << 32,
    snapshot_bytes=1 << 32,
    text_bytes=1 << 30,
)


@contextmanager
def fetched(
    hex_digest: str | None, objects: ObjectStorage, *, scratch: Path
) -> Generator[MpackFile]:
    """Open an mpack for the block, once its hash has been verified.

    Raises:
        Rejection: there is none of that key, or its bytes do not hash to it.
        Transient: STORAGE_UNAVAILABLE or SCRATCH_UNAVAILABLE.
    """
    if hex_digest is None or not is_id(hex_digest):
        raise Rejection(Fault.BAD_PAYLOAD, "payload.mpack_key is not an id")
    path = scratch / f"{hex_digest}.mpack"
    file = objects.fetch_mpack(hex_digest, path, limit=_LIMITS.mpack_bytes)
    try:
        yield file
    finally:
        file.close()


def read_again(file: MpackFile) -> Iterator[Chunk]:
    """Yield what is in an mpack, as `read_mpack` does.

    Raises:
        Rejection: as `read_mpack`, but for today's limits.
    """
    return read_mpack(file, limits=_LIMITS)
