"""A manifest: a map from path to object id. A large one is never built as a whole.

That would take up to twenty times its size. It is read in portions instead, once for each question
that is asked of it.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from operator import eq

import msgspec

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import MAX_GROWTH, Limits
from musehub_pipeline.domain.names import Manifests, check_files_and_folders, check_paths, sort_key
from musehub_pipeline.domain.packed import decode, header_of, pack_header, whole_items

LARGE_BYTES = 4 << 20
_PORTION_BYTES = 256 << 10
_HASHED_ENTRIES = 10_000
_LEAST_ENTRY_BYTES = 67  # a path of no bytes (1), and an id of 64 digits (2 + 64)
_FEW_ENTRIES = 1_000  # so few take no longer in any order
_MOST_ID_BYTES = 2 + len(ids.PREFIX) + 2 * ids.DIGEST_BYTES
_ENTRY_BYTES = 160  # up to this average, no path can make the JSON exceed MAX_GROWTH

_decoder = msgspec.msgpack.Decoder(dict[str, str])
_encode = msgspec.json.Encoder().encode


class Manifest:
    """The manifest of one snapshot, as the client spelled it."""

    def __init__(self, packed: memoryview, *, large_bytes: int = LARGE_BYTES) -> None:
        """Read a packed manifest.

        The number of entries is judged by its header before any of them is built.

        Raises:
            Rejection: MPACK_MALFORMED.
        """
        header = header_of(packed)
        self.packed = packed
        self._begin = header.size
        self._length = header.length if header.kind == "map" else 0
        if self._length * _LEAST_ENTRY_BYTES > len(packed):
            raise Rejection(Fault.MPACK_MALFORMED, "manifest: its entries are too short for ids")
        self._whole: dict[str, str] | None = None
        if len(packed) <= large_bytes or header.kind != "map":
            self._whole = _decode(packed, entries=self._length)

    @property
    def is_large(self) -> bool:
        """Whether it is gone over in portions."""
        return self._whole is None

    def portions(self) -> Iterator[dict[str, str]]:
        """Yield the entries, from path to id; all at once, but of a large manifest.

        Raises:
            Rejection: MPACK_MALFORMED.
        """
        if self._whole is not None:
            yield self._whole
            return
        rest, left, window = self.packed[self._begin :], self._length, _PORTION_BYTES
        while left:
            count, size = whole_items(rest[:window], kind="map", most=left)
            if not count:
                path = header_of(rest)
                longest = path.size + path.length + _MOST_ID_BYTES
                if window >= longest:
                    raise Rejection(Fault.MPACK_MALFORMED, "manifest: what should be an id is long")
                window = longest
                continue
            yield _decode(pack_header("map", count) + rest[:size], entries=count)
            rest, left, window = rest[size:], left - count, _PORTION_BYTES

    def check(self, *, limits: Limits, manifests: Manifests) -> str:
        """Check the paths, and return the hex digest of all.

        `manifests` are those that were judged before. That the values are ids is left to the
        caller, who sees each distinct one once.

        Raises:
            Rejection: MPACK_MALFORMED, BAD_TEXT, LIMIT_EXCEEDED or BAD_PATH.
        """
        if self._whole is None:
            return self._check_large(limits)
        manifests.check(self._whole, longest=limits.path_characters)
        if (
            len(self.packed) > _ENTRY_BYTES * self._length
            or MAX_GROWTH * len(self.packed) > 2 * limits.snapshot_bytes
        ):
            self._check_growth(len(self.json()), limits)
        return ids.snapshot_hex(self._whole)

    def json(self) -> bytes | bytearray:
        """Return the manifest as JSON, its ids in the stored spelling."""
        if self._whole is not None:
            return _json(self._whole)
        text = bytearray(b"{")
        for portion in self.portions():
            text += b"," * (len(text) > 1)
            text += _json(portion)[1:-1]
        text += b"}"
        return text

    def _check_large(self, limits: Limits) -> str:
        entries: list[bytes] = []
        json_bytes = 0
        for portion in self.portions():
            check_paths(portion, longest=limits.path_characters)
            json_bytes += len(_json(portion)) - (json_bytes > 0)  # of braces one is a comma then
            self._check_growth(json_bytes, limits)
            entries.extend(map(str.encode, ids.entries(portion)))
        entries.sort()  # as their texts are sorted: UTF-8 keeps the order
        hashed = sha256()
        for start in range(0, len(entries), _HASHED_ENTRIES):
            hashed.update(b"\0" * bool(start))
            hashed.update(b"\0".join(entries[start : start + _HASHED_ENTRIES]))
        del entries  # before as many keys are made
        self._check_keys()
        return hashed.hexdigest()

    def _check_keys(self) -> None:
        keys: list[bytes] = []
        for portion in self.portions():
            keys.extend(map(sort_key, map(str.encode, portion)))
        keys.sort()
        if any(map(eq, keys, islice(keys, 1, None))):
            raise _twice()
        check_files_and_folders(keys)

    def _check_growth(self, json_bytes: int, limits: Limits) -> None:
        """Check the size of some JSON. PostgreSQL adds a blank behind each colon and comma."""
        if json_bytes + 2 * self._length - 1 > MAX_GROWTH * len(self.packed):
            raise Rejection(
                Fault.LIMIT_EXCEEDED, f"manifest: more than {MAX_GROWTH} times its size as JSON"
            )
        if json_bytes > (most := 2 * limits.snapshot_bytes):
            raise Rejection(Fault.LIMIT_EXCEEDED, f"manifest: more than {most} bytes as JSON")


def _decode(packed: bytes | memoryview, *, entries: int) -> dict[str, str]:
    portion = decode(_decoder, packed)
    if len(portion) != entries:
        raise _twice()
    return portion


def _twice() -> Rejection:
    return Rejection(Fault.MPACK_MALFORMED, "manifest: a path occurs twice")


def _json(portion: dict[str, str]) -> bytes:
    # ids.stored() by hand: a call for every file of every snapshot would take as long as the rest.
    prefix = ids.PREFIX
    if len(portion) <= _FEW_ENTRIES:
        return _encode({path: prefix + value[-64:] for path, value in portion.items()})
    # PostgreSQL sorts the paths, in time that grows with the square of their number where they come
    # in an order that is made for it. The order of a set is another in each process.
    return _encode({path: prefix + portion[path][-64:] for path in set(portion)})
