"""Mpacks in memory, read as the pipeline reads them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.inventory import Inventory
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.mpack import Kind, Source
from musehub_pipeline.phases.unpack import Room, take_inventory
from musehub_pipeline_tests.factories import History, pack


@dataclass(frozen=True)
class Bytes:
    """A source in memory."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]


@dataclass(frozen=True)
class Known:
    """A repo that holds some digests; of the objects, each is stored and has the size 1."""

    digests: frozenset[bytes]

    def held(self, kind: Kind, digests: Collection[bytes]) -> set[bytes]:
        return set(self.digests.intersection(digests))

    def object_sizes(self, digests: Collection[bytes]) -> dict[bytes, int]:
        return dict.fromkeys(self.digests.intersection(digests), 1)


def read(
    mpack: bytes | Source,
    *,
    verify_ids: bool = True,
    limits: Limits | None = None,
    held: frozenset[bytes] = frozenset(),
    room: Room | None = None,
) -> Inventory:
    """Read a whole mpack and return what it holds."""
    source = Bytes(mpack) if isinstance(mpack, bytes) else mpack
    return take_inventory(
        source,
        Known(held),
        verified=False,
        pass_over=True,
        verify_ids=verify_ids,
        limits=limits or Limits(),
        room=room,
    )


def refusal(
    mpack: bytes | Source, *, limits: Limits | None = None, held: frozenset[bytes] = frozenset()
) -> tuple[str, str]:
    """Return the code and the message with which an mpack is rejected."""
    with pytest.raises(Rejection) as caught:
        read(mpack, limits=limits, held=held)
    return caught.value.code.value, caught.value.message


def lengths(inventory: Inventory) -> dict[str, int]:
    """Return how many items of each kind came, where the repo held none of them."""
    return {kind: len(getattr(inventory, kind)) for kind in ("commits", "snapshots", "objects")}


def tiny_history(**commit: Any) -> History:
    """One commit of one file."""
    history = History()
    history.commit({"a": b"a"}, **commit)
    return history


def with_item(kind: str, changed: Mapping[str, object], *, without: str | None = None) -> bytes:
    """Return a tiny mpack, the one item of one of whose lists is changed."""
    content = tiny_history().content()
    content[kind][0] |= changed
    content[kind][0].pop(without, None)
    return pack(content)


def array(items: int, packed: bytes) -> bytes:
    """Return a msgpack array of so many items, whatever a packer would refuse."""
    return b"\xdd" + items.to_bytes(4) + packed


def mapping(pairs: Mapping[str, bytes]) -> bytes:
    """Return a msgpack map from keys to values that are packed already."""
    header = b"\xdf" + len(pairs).to_bytes(4)
    return header + b"".join(pack(key) + value for key, value in pairs.items())
