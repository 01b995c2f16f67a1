"""Text arrays in PostgreSQL's binary form, built where the rows are made.

psycopg would build them too, element by element, when it sends them: this takes half the time, and
takes it in the thread that prepares rows while the server is busy.

The format is that of ``array_send`` in PostgreSQL's ``arrayfuncs.c``: dimensions, a flag for nulls,
the element's type, length and lower bound, then each element behind its length.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from struct import Struct
from typing import NamedTuple, TypeVar

from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from musehub_pipeline.domain.ids import DIGEST_BYTES, PREFIX

_TEXT_OID = 25
_TEXT_ARRAY_OID = 1009
_header = Struct("!iiIii").pack
_length = Struct("!i").pack
_ID_LENGTH = len(PREFIX) + 2 * DIGEST_BYTES
_BEFORE_ID = _length(_ID_LENGTH).decode() + PREFIX


Item = TypeVar("Item")


def chunked(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield any number of items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class TextArray(NamedTuple):
    """A ``text[]`` parameter, ready to be sent."""

    binary: bytes | bytearray


def text_array(values: Sequence[str | bytes | bytearray]) -> TextArray:
    """Return texts, or what they are in UTF-8, as an array of one dimension.

    A bytearray that comes alone is large: it becomes the array, and is not copied.
    """
    if len(values) == 1 and isinstance(alone := values[0], bytearray):
        alone[:0] = _header(1, 0, _TEXT_OID, 1, 1) + _length(len(alone))
        return TextArray(alone)
    parts: list[bytes | bytearray] = [b""]
    for value in values:
        encoded = value.encode() if isinstance(value, str) else value
        parts.append(_length(len(encoded)))
        parts.append(encoded)
    parts[0] = _header(1, 0, _TEXT_OID, len(parts) // 2, 1)
    return TextArray(b"".join(parts))


def id_array(digests: Iterable[bytes]) -> TextArray:
    """Return the ids of digests, in the stored spelling, as an array of one dimension.

    All are of one length, so what stands between two of them is always the same.
    """
    hexes = [digest.hex() for digest in digests]
    header = _header(1, 0, _TEXT_OID, len(hexes), 1)
    return TextArray(header + "".join(_BEFORE_ID + text for text in hexes).encode())


class _TextArrayDumper(Dumper):
    format = Format.BINARY
    oid = _TEXT_ARRAY_OID

    def dump(self, obj: TextArray) -> Buffer:
        return obj.binary


def register(connection: Connection[object]) -> None:
    """Let a connection take `TextArray` as a parameter."""
    connection.adapters.register_dumper(TextArray, _TextArrayDumper)
