"""Work on many small items in a few threads, and the memory that threads share."""

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import TypeVar, cast

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_M_ARENA_MAX = -8  # of glibc's malloc.h


@cache
def share_what_is_free() -> None:
    """Have all threads take memory from one arena, where the C library is glibc: see mallopt(3).

    By itself, glibc has an arena for every few threads, and each arena keeps what is freed in it.
    Runs begin new threads all the time, so a long-lived process grew with every push. Best called
    before there are threads.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return free memory to the system, where the C library is glibc: see malloc_trim(3).

    By itself, glibc keeps free memory that lies between used blocks.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def in_threads(
    work: Callable[[Item], Outcome], items: Iterable[Item], *, pool: Executor, threads: int
) -> list[Outcome]:
    """Call `work` with every item in up to `threads` threads of `pool`; the order is lost.

    The threads take items from one shared iterator: a task for each item would cost more than most
    of the items themselves, and nothing is queued.

    Raises:
        Exception: what `work` raised first; items not yet begun are then left out.
    """
    remaining = _Shared(items)

    def take() -> list[Outcome]:
        try:
            return [work(item) for item in remaining]
        except BaseException:
            remaining.stop()
            raise

    tasks = [pool.submit(take) for _ in range(threads)]
    try:
        return [outcome for task in tasks for outcome in task.result()]
    except BaseException:  # also where the run is told to stop: what is left is not begun
        remaining.stop()
        raise


def ahead(
    items: Iterable[Item], *, pool: Executor, alone: Callable[[Item], bool]
) -> Iterator[Item]:
    """Yield the items, each prepared in a thread of `pool` while the one before it is in use.

    One that is so large that it had better be `alone` is used up before the next is prepared.
    """
    iterator = iter(items)
    end = object()
    upcoming = pool.submit(next, iterator, end)
    while True:
        item = upcoming.result()
        del upcoming  # it would keep the item
        if item is end:
            return
        if alone(cast("Item", item)):
            yield cast("Item", item)
            del item
            upcoming = pool.submit(next, iterator, end)
        else:
            upcoming = pool.submit(next, iterator, end)
            yield cast("Item", item)


def behind(work: Callable[[Item], object], items: Iterable[Item], *, most: int) -> None:
    """Call `work` with every item, in order, in a thread of its own that lags up to `most` behind.

    Raises:
        Exception: what `work` raised first.
    """
    under_way: deque[Future[object]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="behind") as thread:
        for item in items:
            if len(under_way) == most:
                under_way.popleft().result()
            under_way.append(thread.submit(work, item))
        for task in under_way:
            task.result()


class _Shared(Iterator[Item]):
    """An iterator that several threads may take from."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._lock = Lock()
        self._stopped = False

    def __next__(self) -> Item:
        with self._lock:
            if self._stopped:
                raise StopIteration
            return next(self._items)

    def stop(self) -> None:
        self._stopped = True
