"""Questions asked in bulk, ahead of the need for their answers."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_PORTION_ITEMS = 2_000
_PORTION_BYTES = 4 << 20


class InBulk(Generic[Item, Answer]):
    """Collects items, asks about a portion of them at a time, and hands portion and answer on.

    One question is on its way, in a thread of `asker`, while the next portion is collected. The
    answers come in the order of the items, in the thread that adds them.
    """

    def __init__(
        self,
        *,
        ask: Callable[[list[Item]], Answer],
        take: Callable[[list[Item], Answer], None],
        asker: Executor,
    ) -> None:
        self._ask = ask
        self._take = take
        self._asker = asker
        self._portion: list[Item] = []
        self._bytes = 0
        self._asked: tuple[list[Item], Future[Answer]] | None = None

    def add(self, item: Item, *, size_bytes: int = 0) -> None:
        """Add an item that keeps so much memory; an earlier portion may be handed on."""
        self._portion.append(item)
        self._bytes += size_bytes
        if len(self._portion) >= _PORTION_ITEMS or self._bytes >= _PORTION_BYTES:
            portion, self._portion, self._bytes = self._portion, [], 0
            self._settle()
            self._asked = portion, self._asker.submit(self._ask, portion)

    def finish(self) -> None:
        """Ask about the rest, and hand all of it on."""
        self._settle()
        portion, self._portion = self._portion, []
        if portion:
            self._take(portion, self._ask(portion))

    def _settle(self) -> None:
        if self._asked is not None:
            (portion, answer), self._asked = self._asked, None
            self._take(portion, answer.result())
