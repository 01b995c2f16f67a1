"""Work in threads: what is prepared ahead, and what is let go before."""

import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from musehub_pipeline.parallel import ahead


class AtOnce(Executor):
    """Does work when it is handed in: then nothing depends on which thread is the faster one."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Large:
    """Something that can be seen to be let go."""


def test_what_is_alone_is_let_go_before_the_next_is_prepared() -> None:
    made: list[weakref.ref[Large]] = []
    kept: list[int] = []

    def items() -> Iterator[Large]:
        for _ in range(3):
            kept.append(sum(ref() is not None for ref in made))
            large = Large()
            made.append(weakref.ref(large))
            yield large
            del large

    for item in ahead(items(), pool=AtOnce(), alone=lambda _: True):
        del item

    assert kept == [0, 0, 0]


def test_what_is_not_alone_is_prepared_while_the_one_before_it_is_in_use() -> None:
    prepared: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            prepared.append(number)
            yield number

    seen = [(item, len(prepared)) for item in ahead(items(), pool=AtOnce(), alone=lambda _: False)]

    assert seen == [(0, 2), (1, 3), (2, 3)]
