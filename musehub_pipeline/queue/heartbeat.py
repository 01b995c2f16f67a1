"""The heartbeat of a run: renews the leases of all its jobs until the run ends.

However the run ends, the leases that it still holds are released, and no attempt is spent.
"""

import logging
from threading import Event, Thread
from typing import Self

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.postgres.blips import through_blips, when_back
from musehub_pipeline.queue.live_runs import Runs

_BEATS_A_LEASE = 4
_END_PATIENCE_SECONDS = 20.0

_log = logging.getLogger("musehub_pipeline.heartbeat")


class Heartbeat:
    """A thread that beats from `begin` to the end of the `with` block.

    A beat that fails is only noted: the lease may still be renewed by the next one, and whoever
    lost it cannot publish.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._ended = Event()
        self._run_id = ""
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._run_id:
            self._end()
        if self._thread is not None:
            self._thread.join()

    def _end(self) -> None:
        """Release all leases: one left to expire would look as if its job had killed the run."""
        try:
            released = when_back(
                lambda: self._runs.end(self._run_id), within_seconds=_END_PATIENCE_SECONDS
            )
        except Transient as error:
            _log.warning("run %s: its leases will expire: %s", self._run_id, error)
            return
        if released:
            _log.warning("run %s was stopped: %d jobs are given back", self._run_id, released)

    def begin(self, run_id: str, *, claims: bool = False) -> None:
        """Say that `run_id` is alive, and renew its leases from now on, and those of no other run.

        With `claims` it will take jobs from the queue: others count on it.

        Raises:
            Transient: DATABASE_UNAVAILABLE, where it stays away.
        """
        through_blips(self._runs.begin, run_id, claims=claims)
        self._run_id = run_id
        if self._thread is None:
            self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        pause = self._runs.lease / _BEATS_A_LEASE
        while not self._ended.wait(pause.total_seconds()):
            try:
                self._runs.renew(self._run_id)
            except Exception as error:
                _log.warning("run %s: its leases could not be renewed: %s", self._run_id, error)
