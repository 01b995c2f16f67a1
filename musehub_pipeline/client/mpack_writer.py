"""The mpack file as it is written: elements come one by one, the file is assembled at the end.

The shape of the file belongs here. Where the elements come from, and whether they are valid, does
not: tests write broken mpacks with it, too.
"""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import IO, Self

import msgpack

from musehub_pipeline.domain import ids

_MEMORY_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_BIN_HEADERS = ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4))


class MpackWriter:
    """Writes one mpack; a context manager.

    An array's length stands before its elements, so the elements wait in files beside the
    destination until `finish` knows how many there are. The destination appears whole or, where
    the block is left without `finish`, not at all.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.commits = 0
        self.snapshots = 0
        self.objects = 0
        self.object_bytes = 0
        self._packer = msgpack.Packer(use_bin_type=True)
        self._part = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.part")
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Unlinking comes first here to come last at the exit, after every close.
            stack.callback(self._part.unlink, missing_ok=True)
            self._file = stack.enter_context(self._part.open("xb"))
            self._commits = stack.enter_context(self._spool())
            self._snapshots = stack.enter_context(self._spool())
            self._objects = stack.enter_context(self._spool())
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def add_commit(self, commit: Mapping[str, object]) -> None:
        """Add a commit map."""
        self._commits.write(self._packer.pack(commit))
        self.commits += 1

    def add_snapshot(self, snapshot: Mapping[str, object]) -> None:
        """Add a snapshot map."""
        self._snapshots.write(self._packer.pack(snapshot))
        self.snapshots += 1

    def add_object(self, object_id: str, content: bytes, path: str | None = None) -> None:
        """Add an object; its content is copied nowhere but to disk."""
        fields = {"object_id": object_id}
        if path is not None:
            fields["path"] = path
        pack = self._packer.pack
        content_header = _bin_header(len(content))
        self._objects.write(self._packer.pack_map_header(len(fields) + 1))
        for key, value in fields.items():
            self._objects.write(pack(key) + pack(value))
        self._objects.write(pack("content") + content_header)
        if len(content) > _MEMORY_BYTES:
            self._objects.rollover()
        self._objects.write(content)
        self.objects += 1
        self.object_bytes += len(content)

    def finish(self, *, branch_heads: Mapping[str, str]) -> tuple[str, int]:
        """Assemble the mpack, put it in its place, and return its key and size in bytes."""
        digest = sha256()
        with self._file:
            for chunk in self._chunks(branch_heads):
                digest.update(chunk)
                self._file.write(chunk)
            size_bytes = self._file.tell()
        self._part.replace(self.destination)
        return ids.id_of(digest.digest()), size_bytes

    def _chunks(self, branch_heads: Mapping[str, str]) -> Iterator[bytes]:
        pack = self._packer.pack
        yield self._packer.pack_map_header(5)
        yield from self._array("commits", self.commits, self._commits)
        yield from self._array("snapshots", self.snapshots, self._snapshots)
        yield from self._array("objects", self.objects, self._objects)
        yield pack("tags") + pack([])
        yield pack("branch_heads") + pack(dict(branch_heads))

    def _array(self, key: str, length: int, spool: IO[bytes]) -> Iterator[bytes]:
        yield self._packer.pack(key) + self._packer.pack_array_header(length)
        spool.seek(0)
        while chunk := spool.read(_CHUNK_BYTES):
            yield chunk

    def _spool(self) -> tempfile.SpooledTemporaryFile[bytes]:
        return tempfile.SpooledTemporaryFile(_MEMORY_BYTES, dir=str(self.destination.parent))


def _bin_header(size: int) -> bytes:
    """Return what msgpack puts before `size` bytes; its packer would copy the bytes."""
    for marker, width in _BIN_HEADERS:
        if size < 1 << (8 * width):
            return marker + size.to_bytes(width, "big")
    raise ValueError(f"content of {size} bytes does not fit into an mpack")
