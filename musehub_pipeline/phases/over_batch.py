"""What a batch has no room for: other runs may take it at once."""

from dataclasses import replace

from musehub_pipeline.domain.errors import Deferral, Trouble
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.postgres.blips import through_blips


def put_back_late(batch: Batch) -> Batch:
    """Put back, unspent, the pushes that came too late for the batch; return the rest.

    With them go those that wait behind them: their repositories are free again. The latest goes
    first. What is indexed again keeps nobody waiting, and is left for the end of the batch.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    late = {
        item.claim.repo_id
        for item in batch.items
        if item.lease.holds_repo and item.error and item.error.code is Trouble.OVER_BATCH
    }
    kept: list[Item] = []
    for item in reversed(batch.items):
        if item.claim.repo_id in late and isinstance(item.error, Deferral):
            if item.mpack is not None:
                item.mpack.close()
            through_blips(item.lease.give_back)
        else:
            kept.append(item)
    return replace(batch, items=tuple(reversed(kept)))
