"""The mpack reader: one pass over a file, in bounded memory, that yields its items in chunks.

It knows the form of an mpack and where an item has its id, and nothing of what else it says. It
never holds more than a chunk of each list and a read buffer. Contents of objects are places in the
file; a large one is not even read.
"""

from collections.abc import Callable, Container, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import commit_id_of
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.places import Place
from musehub_pipeline.domain.snapshot import snapshot_id_of

Kind = Literal["object", "snapshot", "commit"]

LONG_BYTES = 4 << 20
"""Contents up to this size are read on the way; longer ones are passed over."""

LEAST_ITEM_BYTES = 87
"""Of an item: an object, with its keys and 64 digits, that holds nothing."""

_CHUNK_ITEMS = 20_000
_CHUNK_BYTES: dict[Kind, int] = {"snapshot": 4 << 20, "commit": 4 << 20, "object": 32 << 20}
"""Of the items of a chunk, all but the last: in memory, but for the contents of objects."""

_READ_BYTES = 1 << 16  # and the least text_bytes
_OBJECT_KEYS = ("object_id", "content")
_BIN32 = 0xC6
_BIN_HEADER_BYTES = {0xC4: 2, 0xC5: 3, _BIN32: 5}
_STR32 = 0xDB
_LONG_HEADER_BYTES = 5


class Source(Protocol):
    """A file that can be read anywhere."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer at the end of the file."""
        ...


class MpackItem(NamedTuple):
    """One item of an mpack."""

    number: int  # in its list
    place: Place  # of an object's content; of a whole snapshot or commit
    raw: bytes  # what lies there, but of an object nothing


class Chunk(NamedTuple):
    """Some items of one list."""

    kind: Kind
    items: list[MpackItem]


def read_mpack(source: Source, *, limits: Limits) -> Iterator[Chunk]:
    """Yield all items of an mpack, each list in order; the whole is read when nothing is left.

    What does not fill a chunk comes in the end, leaves before roots: how an mpack is judged does
    not depend on the order of its lists, unless it is large.

    Raises:
        Rejection: MPACK_MALFORMED, LIMIT_EXCEEDED or BAD_ID; the message begins with the item:
            ``objects[3]: …``.
    """
    return _Reader(source, limits).chunks()


class _Reader:
    """The position in the file, and the decoder that stands there."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._rests: dict[Kind, list[MpackItem]] = {}  # of lists that have been read
        self._long_bytes = min(LONG_BYTES, limits.text_bytes)
        self._list_name = "mpack"  # the list that is read; outside of lists, the whole
        self._number: int | None = None  # of the item that is read, if one is
        self._seek(0)

    def chunks(self) -> Iterator[Chunk]:
        try:
            yield from self._top_level()
        except Rejection as rejection:
            raise rejection.at(self._where) from rejection
        except msgpack.OutOfData as error:
            raise self._malformed("the file ends in the middle of it") from error
        except msgpack.BufferFull as error:
            message = f"a value is longer than {self._limits.text_bytes} bytes"
            raise Rejection(Fault.LIMIT_EXCEEDED, message, item=self._where) from error
        except msgpack.StackError as error:
            raise self._malformed("nested too deeply") from error
        except (msgpack.UnpackException, ValueError, OverflowError) as error:
            raise self._malformed(str(error) or "not msgpack") from error

    @property
    def _where(self) -> str:
        return self._list_name if self._number is None else f"{self._list_name}[{self._number}]"

    def _malformed(self, message: str) -> Rejection:
        return Rejection(Fault.MPACK_MALFORMED, message, item=self._where)

    def _top_level(self) -> Iterator[Chunk]:
        lists: dict[str, tuple[Kind, int, Callable[[], tuple[Place, bytes]]]] = {
            "objects": ("object", self._limits.objects, self._object),
            "snapshots": ("snapshot", self._limits.snapshots, self._snapshot),
            "commits": ("commit", self._limits.commits, self._commit),
        }
        for key in self._keys(lists):
            if key in lists:
                self._list_name = key
                yield from self._list(*lists[key])
            else:
                self._skip()
            self._list_name = "mpack"
        if self._position != self._source.size:
            raise self._malformed(f"{self._source.size - self._position} bytes follow its end")
        for kind in _CHUNK_BYTES:
            if rest := self._rests.pop(kind, None):
                yield Chunk(kind, rest)

    def _list(
        self, kind: Kind, limit: int, read_item: Callable[[], tuple[Place, bytes]]
    ) -> Iterator[Chunk]:
        length = self._unpacker.read_array_header()
        if length > limit:
            raise Rejection(Fault.LIMIT_EXCEEDED, f"{length} items, where {limit} are allowed")
        if length > self._source.size - self._position:
            raise Rejection(Fault.MPACK_MALFORMED, f"{length} items do not fit into the file")
        items: list[MpackItem] = []
        size = 0
        for self._number in range(length):
            place, raw = read_item()
            items.append(MpackItem(self._number, place, raw))
            size += place.size
            del raw  # which may be large: nothing keeps what has been yielded
            if len(items) == _CHUNK_ITEMS or size >= _CHUNK_BYTES[kind]:
                yield Chunk(kind, items)
                items, size = [], 0
        self._number = None
        self._rests[kind] = items

    def _keys(self, known: Container[str]) -> Iterator[str]:
        """Yield the keys of a map; whoever takes one reads or skips its value.

        A known key that occurs twice is refused; of unknown ones nothing is remembered.
        """
        keys = self._unpacker.read_map_header()
        if keys > self._source.size - self._position:
            raise Rejection(Fault.MPACK_MALFORMED, f"{keys} keys do not fit into the file")
        seen: list[str] = []
        for _ in range(keys):
            key = self._unpacker.unpack()
            if not isinstance(key, str):
                raise Rejection(Fault.MPACK_MALFORMED, f"a key is {key!r:.60}, not a text")
            if key in known:
                if key in seen:
                    raise Rejection(Fault.MPACK_MALFORMED, f"the key {key!r} occurs twice")
                seen.append(key)
            yield key

    def _object(self) -> tuple[Place, bytes]:
        object_id: Any = None
        content: tuple[int, int] | None = None
        for key in self._keys(_OBJECT_KEYS):
            if key == "object_id":
                object_id = self._unpacker.unpack()
            elif key == "content":
                content = self._content()
            else:
                self._skip()
        if not isinstance(object_id, str):
            raise Rejection(Fault.MPACK_MALFORMED, "object_id: missing, or not a text")
        if content is None:
            raise Rejection(Fault.MPACK_MALFORMED, "content: missing")
        ids.check_id("object_id", object_id)
        return Place(ids.digest_of(object_id), *content), b""

    def _skip(self) -> None:
        start = self._position
        try:
            self._unpacker.skip()
        except msgpack.BufferFull:
            if self._source.read(start, 1)[0] not in {_BIN32, _STR32}:
                raise
            self._pass_over(start)

    def _content(self) -> tuple[int, int]:
        start = self._position
        tag = self._stream.byte(start)
        header = _BIN_HEADER_BYTES.get(tag)
        if header is None:
            raise Rejection(Fault.MPACK_MALFORMED, "content: not binary")
        if tag == _BIN32 and int.from_bytes(self._stream.slice(start + 1, 4)) > self._long_bytes:
            return self._pass_over(start)
        self._unpacker.skip()
        return start + header, self._position - start - header

    def _pass_over(self, start: int) -> tuple[int, int]:
        """Go to the end of a long text or binary, unread; return where its bytes are."""
        header = self._source.read(start, _LONG_HEADER_BYTES)
        offset, size = start + _LONG_HEADER_BYTES, int.from_bytes(header[1:])
        if offset + size > self._source.size:
            raise Rejection(Fault.MPACK_MALFORMED, "the file ends in the middle of a long value")
        self._seek(offset + size)
        return offset, size

    def _snapshot(self) -> tuple[Place, bytes]:
        return self._raw(self._limits.snapshot_bytes, snapshot_id_of)

    def _commit(self) -> tuple[Place, bytes]:
        return self._raw(self._limits.commit_bytes, commit_id_of)

    def _raw(self, limit: int, id_of: Callable[[bytes], str]) -> tuple[Place, bytes]:
        begin = self._unpacker.tell()
        self._unpacker.skip()
        start, size = self._base + begin, self._unpacker.tell() - begin
        if size > limit:
            raise Rejection(Fault.LIMIT_EXCEEDED, f"{size} bytes, where {limit} are allowed")
        raw = self._stream.slice(start, size)
        return Place(ids.digest_of(id_of(raw)), start, size), raw

    @property
    def _position(self) -> int:
        return self._base + self._unpacker.tell()

    def _seek(self, offset: int) -> None:
        self._base = offset
        self._stream = _Stream(self._source, offset)
        # unpack() is only ever asked for a scalar: no lengths, so that nothing nested is built.
        self._unpacker: Any = msgpack.Unpacker(  # pyright: ignore[reportUnknownMemberType]
            self._stream,
            raw=False,
            read_size=_READ_BYTES,
            max_buffer_size=self._limits.text_bytes,  # what is longer does not fit
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
        )


class _Stream:
    """The rest of a source from an offset on, as the file that `msgpack.Unpacker` reads."""

    def __init__(self, source: Source, offset: int) -> None:
        self._source = source
        self._data = b""  # what was read last
        self._offset = offset  # where that begins

    def read(self, size: int) -> bytes:
        self._offset += len(self._data)
        self._data = self._source.read(self._offset, size)
        return self._data

    def byte(self, offset: int) -> int:
        """Return one byte, most likely of what was read last."""
        start = offset - self._offset
        if 0 <= start < len(self._data):
            return self._data[start]
        if offset >= self._source.size:
            raise msgpack.OutOfData
        return self._source.read(offset, 1)[0]

    def slice(self, offset: int, size: int) -> bytes:
        """Return some bytes again; most items still lie in what was read last."""
        start = offset - self._offset
        if start >= 0 and start + size <= len(self._data):
            return self._data[start : start + size]
        return self._source.read(offset, size)
