"""What a batch has no room for: other runs may take it at once."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

from musehub_pipeline.domain.errors import Trouble
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import through_blips
from musehub_pipeline.storage.queue import Queue


def put_back_late(batch: Batch, queue: Queue) -> Batch:
    """Put back, unspent, what came too late for the batch, the latest first; return the rest.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    kept: list[Item] = []
    for item in reversed(batch.items):
        error = item.error
        if error is not None and error.code is Trouble.OVER_BATCH:
            if item.mpack is not None:
                item.mpack.close()
            release = partial(queue.release, item.claim, error, delay=timedelta(0), spent=False)
            through_blips(release)
        else:
            kept.append(item)
    return replace(batch, items=tuple(reversed(kept)))
