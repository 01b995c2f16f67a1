"""Questions that are asked in bulk: one for some thousands of items, not one for each."""

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_PORTION_ITEMS = 5_000
_PORTION_BYTES = 4 << 20


class InBulk(Generic[Item, Answer]):
    """Collects items, asks about a portion of them at a time, and hands portion and answer on.

    The reader waits for the answer: a thread that asked meanwhile would take the interpreter from
    it for longer than the answer takes.
    """

    def __init__(
        self,
        *,
        ask: Callable[[list[Item]], Answer],
        take: Callable[[list[Item], Answer], None],
    ) -> None:
        self._ask = ask
        self._take = take
        self._portion: list[Item] = []
        self._bytes = 0

    def add(self, item: Item, *, size_bytes: int = 0) -> None:
        """Add an item that keeps so much memory."""
        self._portion.append(item)
        self._bytes += size_bytes
        if len(self._portion) >= _PORTION_ITEMS or self._bytes >= _PORTION_BYTES:
            self.finish()

    def finish(self) -> None:
        """Ask about whatever was added since the last question."""
        portion, self._portion, self._bytes = self._portion, [], 0
        if portion:
            self._take(portion, self._ask(portion))
