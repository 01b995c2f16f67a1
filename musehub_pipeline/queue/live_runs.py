"""Runs that are alive, by their own word: Dagster cannot tell them from those that died."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from musehub_pipeline.postgres.database import Database

_FORGOTTEN_AFTER = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownRun:
    """What a run has said of itself."""

    alive: bool
    claimed: bool


class Runs:
    """The rows of `musehub_pipeline_runs`."""

    def __init__(self, database: Database, *, lease: timedelta) -> None:
        self._database = database
        self.lease = lease

    def begin(self, run_id: str, *, claims: bool) -> None:
        """Note that a run has begun, and is alive; `claims` if it will take jobs from the queue."""
        with self._database.transaction() as transaction:
            parameters = {"run_id": run_id, "claims": claims, "lease": self.lease}
            transaction.write("begin_run", parameters)

    def renew(self, run_id: str) -> None:
        """Make the leases of a run last from now on, and say that the run is alive."""
        with self._database.transaction() as transaction:
            for name in ("renew", "renew_run"):
                transaction.write(name, {"run_id": run_id, "lease": self.lease})

    def end(self, run_id: str) -> int:
        """Give back what a run still holds, no attempt spent; return how many jobs.

        Whoever waits for jobs is woken, for those behind the run's may be due now.
        The run counts as alive for one more lease, in which Dagster notes how it ended.
        """
        with self._database.transaction() as transaction:
            released = transaction.write("release_run", {"run_id": run_id})
            released += transaction.write("release_run_past", {"run_id": run_id})
            transaction.write("end_run", {"run_id": run_id, "lease": self.lease})
            transaction.write("wake")
        return released

    def known(self, run_ids: Collection[str]) -> dict[str, KnownRun]:
        """Return what is known of runs, and of others that are about to claim.

        A run of `run_ids` that is not known yet counts as alive for the time of one lease.
        """
        ids = sorted(run_ids)
        with self._database.transaction() as transaction:
            transaction.write("expect_runs", {"run_ids": ids, "lease": self.lease})
            rows = transaction.tuples("runs", {"run_ids": ids})
        return {run_id: KnownRun(alive=alive, claimed=claimed) for run_id, alive, claimed in rows}

    def forget(self) -> None:
        """Forget runs that died long ago."""
        with self._database.transaction() as transaction:
            transaction.write("forget_runs", {"age": _FORGOTTEN_AFTER})
            transaction.write("forget_witnesses")
