"""What a batch has no room for: other runs may take it at once."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

from musehub_pipeline.domain.errors import Deferral, Trouble
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import through_blips
from musehub_pipeline.queue.queue import Queue

_AT_ONCE = timedelta(0)


def put_back_late(batch: Batch, queue: Queue) -> Batch:
    """Put back, unspent, the pushes that came too late for the batch; return the rest.

    With them go those that wait behind them: their repositories are free again. The latest goes
    first. What is indexed again is left for the end of the batch: its lease is of another kind.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    late = {
        item.claim.repo_id
        for item in batch.items
        if item.error is not None and item.error.code is Trouble.OVER_BATCH and not item.again
    }
    kept: list[Item] = []
    for item in reversed(batch.items):
        if item.claim.repo_id in late and isinstance(item.error, Deferral):
            if item.mpack is not None:
                item.mpack.close()
            release = partial(queue.release, item.claim, item.error, delay=_AT_ONCE, spent=False)
            through_blips(release)
        else:
            kept.append(item)
    return replace(batch, items=tuple(reversed(kept)))
