"""The queue at a standstill: no run has a job, and none can begin until it ends.

Only within one may be removed from storage what a run could be counting on.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from musehub_pipeline.postgres.database import Database, Transaction


class UnderWay(NamedTuple):
    """How many jobs runs have at this moment."""

    jobs: int
    dead: int  # of these, those whose runs have said nothing for a lease's time


class Standstill(NamedTuple):
    """The transaction in which nothing is claimed, and who still has claimed something."""

    transaction: Transaction
    under_way: UnderWay


@contextmanager
def standstill(database: Database) -> Generator[Standstill]:
    """Let nobody claim anything for the block: it should be short, and look who is `under_way`.

    Where the connection is lost, so is the lock: whoever removes something asks the transaction for
    it first, each time.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.transaction() as transaction:
        transaction.rows("standstill_settings")
        transaction.write("lock_claims")
        [under_way] = transaction.rows("jobs_under_way", of=UnderWay)
        yield Standstill(transaction, under_way)
