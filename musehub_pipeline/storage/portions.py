"""Any number of items, a few thousand at a time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def portions(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield the items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while portion := list(islice(iterator, size)):
        yield portion
