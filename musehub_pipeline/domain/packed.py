"""Packed values: one item of an mpack, or a part of it, as the msgpack that a client sent."""

from typing import Any, Literal, NamedTuple, TypeVar

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import msgspec

from musehub_pipeline.domain.errors import Fault, Rejection

MAX_FIELDS = 1_000
MAX_DEPTH = 200
"""How deep lists and maps may nest, in a whole commit and in each ignored field of a snapshot."""

_DECODER_DEPTH = 1024  # how deep msgpack's decoder goes; it does not use the stack of its caller
_PORTION_BYTES = 256 << 10

Nesting = Literal["list", "map"]

_KINDS: dict[int, tuple[Literal["text", "list", "map"], int]] = {
    0xD9: ("text", 1),
    0xDA: ("text", 2),
    0xDB: ("text", 4),
    0xDC: ("list", 2),
    0xDD: ("list", 4),
    0xDE: ("map", 2),
    0xDF: ("map", 4),
}

Decoded = TypeVar("Decoded")


class Header(NamedTuple):
    """What the first bytes of a packed value say of it."""

    kind: Literal["text", "list", "map"] | None  # None: any other
    length: int  # bytes of a text, items of a list, or keys of a map
    size: int  # of the header itself


def header_of(packed: bytes | memoryview) -> Header:
    """Return the header of a value of at least one byte."""
    tag = packed[0]
    if tag in _KINDS:
        kind, width = _KINDS[tag]
        return Header(kind, int.from_bytes(packed[1 : 1 + width]), 1 + width)
    match tag >> 4:
        case 0x8:
            return Header("map", tag & 0x0F, 1)
        case 0x9:
            return Header("list", tag & 0x0F, 1)
        case 0xA | 0xB:
            return Header("text", tag & 0x1F, 1)
        case _:
            return Header(None, 0, 1)


def pack_header(kind: Nesting, length: int) -> bytes:
    """Return the shortest header of a list or map."""
    fixed, short = (0x80, 0xDE) if kind == "map" else (0x90, 0xDC)
    if length < 1 << 4:
        return bytes((fixed | length,))
    if length < 1 << 16:
        return bytes((short,)) + length.to_bytes(2)
    return bytes((short + 1,)) + length.to_bytes(4)


def skipper(packed: bytes | memoryview) -> Any:
    """Return a decoder in C that stands before some packed values: it can `skip` and `tell`."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)  # pyright: ignore
    unpacker.feed(packed)  # pyright: ignore
    return unpacker  # pyright: ignore


def whole_items(packed: memoryview, *, kind: Nesting, most: int) -> tuple[int, int]:
    """Return how many items of a list or map lie there whole, `most` at the most, and their bytes.

    Raises:
        Rejection: MPACK_MALFORMED.
    """
    unpacker = skipper(packed)
    skip, tell = unpacker.skip, unpacker.tell
    count = size = 0
    try:
        while count < most:
            if kind == "map":
                skip()
            skip()
            size = tell()
            count += 1
    except msgpack.OutOfData:
        pass
    except msgpack.StackError as error:
        raise Rejection(Fault.MPACK_MALFORMED, "nested too deeply") from error
    return count, size


def decode(decoder: msgspec.msgpack.Decoder[Decoded], packed: bytes | memoryview) -> Decoded:
    """Decode a value.

    Raises:
        Rejection: MPACK_MALFORMED, naming the field.
    """
    try:
        return decoder.decode(packed)
    except RecursionError as error:
        raise Rejection(Fault.MPACK_MALFORMED, "nested too deeply") from error
    except (ValueError, OverflowError) as error:  # an odd timestamp, or text, is no DecodeError
        raise Rejection(Fault.MPACK_MALFORMED, str(error)) from error


_fields_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


def fields_of(item: bytes) -> dict[str, memoryview]:
    """Return the values of an item, each still packed.

    Raises:
        Rejection: MPACK_MALFORMED, also where a key occurs twice, or LIMIT_EXCEEDED.
    """
    count = header_of(item).length
    if count > MAX_FIELDS:
        raise Rejection(Fault.LIMIT_EXCEEDED, f"{count} keys, where {MAX_FIELDS} are allowed")
    fields = decode(_fields_decoder, item)
    if len(fields) < count:
        raise Rejection(Fault.MPACK_MALFORMED, "a key occurs twice")
    return {name: memoryview(packed) for name, packed in fields.items()}


def check_depth(item: bytes | memoryview) -> None:
    """Raise a `Rejection`, MPACK_MALFORMED, if a value is nested deeper than `MAX_DEPTH`."""
    # The decoder begins inside so many open lists that only MAX_DEPTH levels remain.
    unpacker = skipper(b"\x91" * (_DECODER_DEPTH - MAX_DEPTH))
    for start in range(0, len(item), _PORTION_BYTES):
        unpacker.feed(item[start : start + _PORTION_BYTES])
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            continue
        except msgpack.StackError as error:
            raise Rejection(Fault.MPACK_MALFORMED, "nested too deeply") from error
