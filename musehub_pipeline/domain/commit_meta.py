"""What is said of a commit beside what its id hashes, as JSON.

It may be of any form, and is refused where JSON or PostgreSQL would change it. A large one is never
built as a whole, for that takes up to 120 times its size: it is gone over in pieces, each a run of
neighbours in a list or a map.
"""

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any, NewType

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import msgspec

from musehub_pipeline.domain.digests import DigestSet
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import MAX_GROWTH
from musehub_pipeline.domain.packed import (
    MAX_FIELDS,
    Header,
    check_depth,
    decode,
    fields_of,
    header_of,
    pack_header,
    whole_items,
)

PIECE_BYTES = 256 << 10
MAX_KEYS = 1_000_000  # of one map: the hashes of a large one's are kept while it is gone over
MAX_VALUES = 4 << 20  # each takes up to 16 bytes beside its text, and jsonb holds 256 MiB

_MOST_JSON_BYTES = 6  # that a byte of msgpack becomes: a control character
_PLAIN_DEPTH = 8  # the cost of the type doubles with each
_FLOAT = sys.float_info.max
_FLOAT32, _FLOAT64 = b"\xca", b"\xcb"
_NIL = 0xC0
_UNUSABLE = (ValueError, TypeError, OverflowError, RecursionError)

_find_nul = re.compile(rb"\\u0000").search
# A NUL as JSON spells it, behind an even number of backslashes: jsonb cannot hold one.
_find_spelled_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search
_find_exponents = re.compile(rb"\d(?:\.(\d+))?e\+?(-?\d+)").finditer
_cut_texts = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"').sub


class _Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    metadata: Any = None
    structured_delta: Any = None
    sem_ver_bump: Any = None
    breaking_changes: Any = None
    agent_id: Any = None
    model_id: Any = None
    toolchain_id: Any = None
    prompt_hash: Any = None
    signature: Any = None
    signer_key_id: Any = None
    format_version: Any = None
    reviewed_by: Any = None
    test_runs: Any = None


def _plain(depth: int) -> Any:
    """Return the type of what JSON can hold, nested so deeply at the most."""
    scalar: Any = None | bool | int | Annotated[float, msgspec.Meta(ge=-_FLOAT, le=_FLOAT)] | str
    kind = scalar
    for _ in range(depth):
        inner: Any = NewType("inner", kind)  # pyright: ignore[reportGeneralTypeIssues]
        kind = scalar | list[inner] | dict[str, inner]
    return kind


_plain_decoder = msgspec.msgpack.Decoder(dict[str, _plain(_PLAIN_DEPTH)])
_decoder = msgspec.msgpack.Decoder()
_meta_decoder = msgspec.msgpack.Decoder(_Meta)
_encode = msgspec.msgpack.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode
# PostgreSQL sorts the keys of each map, in time that grows with the square of their number where
# they come in an order that is made for it: so no order of the client's gets there.
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_unpack: Any = msgpack.unpackb  # pyright: ignore


def meta_json(raw: bytes, *, piece_bytes: int = PIECE_BYTES) -> bytes | bytearray:
    """Return the JSON of a commit that has been checked."""
    if len(raw) <= piece_bytes:
        return _encode_sorted(_meta_decoder.decode(raw))
    text = bytearray()
    for name, packed in _kept(raw):
        text += b'%b"%b":' % (b"," if text else b"{", name.encode())
        for piece in _Pieces(packed, piece_bytes).json():
            text += piece
    text += b"}" if text else b"{}"
    return text


def check_meta(raw: bytes, *, max_json_bytes: int, piece_bytes: int = PIECE_BYTES) -> None:
    """Check that what is said of a commit can be kept as it came.

    Raises:
        Rejection: MPACK_MALFORMED, BAD_TEXT or LIMIT_EXCEEDED, naming the field.
    """
    if len(raw) <= piece_bytes and _is_plain(raw, max_json_bytes):
        return
    check_depth(raw)
    room = _Room(max_json_bytes, max_back_bytes=MAX_GROWTH * len(raw))
    for name, packed in _kept(raw):
        room.back_bytes += len(name) + len('"": , ')
        try:
            if name == "metadata":
                _check_map(packed)
            for text in _Pieces(packed, piece_bytes, check=True).json():
                room.take(text)
        except Rejection as rejection:
            message = f"{rejection.message} - at `$.{name}`"
            raise Rejection(rejection.fault, message) from rejection


def _is_plain(raw: bytes, max_json_bytes: int) -> bool:
    """Tell at little cost whether a commit is surely fine, as nearly all are.

    If packing it again gives the same bytes, no key came twice. PostgreSQL adds fewer blanks than
    the JSON has bytes, and it lengthens only floats.
    """
    if _MOST_JSON_BYTES * len(raw) > max_json_bytes:
        return False
    try:
        commit = _plain_decoder.decode(raw)
    except _UNUSABLE:
        return False
    text = _encode_json(commit)
    return (
        len(commit) <= MAX_FIELDS
        and isinstance(commit.get("metadata"), dict | None)
        and _encode(commit) == raw
        and not (b"\0" in raw and _find_nul(text))
        and 2 * len(text) <= MAX_GROWTH * len(raw)
        and _FLOAT32 not in raw
        and _FLOAT64 not in raw
    )


def _kept(raw: bytes) -> Iterator[tuple[str, memoryview]]:
    """Yield those fields of a commit that are kept, and are not nil."""
    fields = fields_of(raw)
    for name in _Meta.__struct_fields__:
        packed = fields.get(name)
        if packed is not None and packed[0] != _NIL:
            yield name, packed


@dataclass
class _Room:
    """Limits and running totals of a commit's JSON, as stored and as PostgreSQL returns it."""

    max_bytes: int
    max_back_bytes: int
    size: int = 0
    back_bytes: int = 0
    values: int = 0

    def take(self, text: bytes) -> None:
        bare = _cut_texts(b"", text)
        commas = bare.count(b",")
        self.size += len(text)
        self.values += commas + bare.count(b"[") + bare.count(b"{")
        # PostgreSQL puts a blank behind each comma and colon.
        self.back_bytes += len(text) + commas + bare.count(b":")
        self.back_bytes += sum(map(_growth, _find_exponents(bare)))
        if self.size > self.max_bytes:
            raise Rejection(Fault.LIMIT_EXCEEDED, f"more than {self.max_bytes} bytes as JSON")
        if self.values > MAX_VALUES:
            raise Rejection(Fault.LIMIT_EXCEEDED, f"more than {MAX_VALUES} values")
        if self.back_bytes > self.max_back_bytes:
            raise Rejection(
                Fault.LIMIT_EXCEEDED,
                f"more than {MAX_GROWTH} times its {self.max_back_bytes // MAX_GROWTH} bytes, as"
                " PostgreSQL writes it out",
            )


def _growth(number: re.Match[bytes]) -> int:
    """Return how much longer a number is when PostgreSQL writes it out: 5e-324 has 326 digits."""
    decimals, exponent = len(number[1] or b""), int(number[2])
    if exponent < 0:
        written = len("0.") - exponent + decimals
    else:
        written = 1 + max(exponent, decimals) + (decimals > exponent)
    return written - len(number[0])


@dataclass
class _Level:
    """A list or a map that is gone over, for it is larger than a piece."""

    left: int  # items, or keys with their values, that are still to come
    is_map: bool = False
    begin: bytes = b""
    end: bytes = b""
    begun: bool = False
    # The hashes of the keys that have come, where this is checked, and how many they are: a key
    # may be long, and takes four bytes a character.
    keys: DigestSet = field(default_factory=DigestSet)
    count: int = 0

    def add(self, keys: Collection[str]) -> None:
        self.keys.update(sha256(key.encode()).digest() for key in keys)
        self.count += len(keys)

    def check_keys(self) -> None:
        if len(self.keys) < self.count:
            raise _twice()


@dataclass
class _Pieces:
    """A packed value on its way to JSON."""

    rest: memoryview
    piece_bytes: int
    check: bool = False

    def json(self) -> Iterator[bytes]:
        """Yield the JSON of the value piece by piece, each made of `piece_bytes` or one text.

        Raises:
            Rejection: where this is checked, for what JSON or PostgreSQL cannot hold.
        """
        levels = [_Level(left=1)]  # the value itself, as if in a list without brackets
        while levels:
            level = levels[-1]
            if not level.left:
                level.check_keys()
                yield level.end
                levels.pop()
                continue
            if level.begun:
                yield b","
            level.begun = True
            if run := self._next_run(level):
                yield self._run_json(level, run)[1:-1]
                continue
            level.left -= 1
            if level.is_map:
                yield self._text_json(level) + b":"
                levels.append(_Level(left=1))  # its value, in the same way
            elif (header := header_of(self.rest)).kind in {"list", "map"}:
                self._take(header.size)
                levels.append(_level(header))
                yield levels[-1].begin
            else:
                yield self._text_json(level)

    def _next_run(self, level: _Level) -> bytes | None:
        """Take as many of a level's items as fit into a piece, as a list or map of their own."""
        kind = "map" if level.is_map else "list"
        count, size = whole_items(self.rest[: self.piece_bytes], kind=kind, most=level.left)
        if not count:
            return None
        level.left -= count
        return pack_header(kind, count) + self._take(size)

    def _take(self, size: int) -> memoryview:
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def _run_json(self, level: _Level, run: bytes) -> bytes:
        if not self.check:
            items = decode(_decoder, run)
            return _in_any_order(items) if level.is_map else _encode_sorted(items)
        try:
            text = _encode_json(decode(_decoder, run))
        except _UNUSABLE as error:
            raise _not_json() from error
        _check_nul(text)
        kept = _decode_json(text)
        if _encode(kept) != run:  # changed, or packed in an unusual way
            if kept != _decoder.decode(run):
                raise _not_json()
            _unpack(run, object_pairs_hook=_each_once)
        if level.is_map:
            level.add(kept)
        return text

    def _text_json(self, level: _Level) -> bytes:
        header = header_of(self.rest)
        if header.kind != "text":  # it is a key, or it is binary, or an extension
            raise _not_json()
        value = decode(_decoder, self._take(header.size + header.length))
        text = _encode_json(value)
        if self.check:
            _check_nul(text)
            if level.is_map:
                level.add({value})
        return text


def _in_any_order(items: dict[str, Any]) -> bytes:
    """Return the JSON of a part of a map, in an order that is another in each process.

    Parts that are sorted, one after the other, could still be what takes long.
    """
    pairs = (_encode_json(key) + b":" + _encode_sorted(items[key]) for key in set(items))
    return b"{%b}" % b",".join(pairs)


def _level(header: Header) -> _Level:
    is_map = header.kind == "map"
    if is_map and header.length > MAX_KEYS:
        raise Rejection(Fault.LIMIT_EXCEEDED, f"more than {MAX_KEYS} keys in a map")
    begin, end = (b"{", b"}") if is_map else (b"[", b"]")
    return _Level(left=header.length, is_map=is_map, begin=begin, end=end)


def _check_map(packed: memoryview) -> None:
    if header_of(packed).kind != "map":
        raise Rejection(Fault.MPACK_MALFORMED, "not a map")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _twice()
    return value


def _check_nul(text: bytes) -> None:
    if _find_nul(text) and _find_spelled_nul(text):
        raise Rejection(Fault.BAD_TEXT, "a text holds NUL")


def _not_json() -> Rejection:
    message = "holds NaN, infinity, binary, an extension, or a key that is no text"
    return Rejection(Fault.MPACK_MALFORMED, message)


def _twice() -> Rejection:
    return Rejection(Fault.MPACK_MALFORMED, "a key occurs twice")
