"""What passes from phase to phase: the jobs of a run, and how each of them fares.

A batch is small whatever its mpacks hold: paths, places in files, ids and counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from musehub_pipeline.domain.budgets import Excess
from musehub_pipeline.domain.errors import READ_AGAIN, Deferral, JobError, Rejection
from musehub_pipeline.domain.inventory import MISSING, UNHELD, UNPROVEN
from musehub_pipeline.domain.job import Claim, Job
from musehub_pipeline.domain.mpack import Kind
from musehub_pipeline.domain.places import Places, PlaceView
from musehub_pipeline.domain.result import Count, Outcome, Result, Timing
from musehub_pipeline.objects.mpacks import MpackFile
from musehub_pipeline.parallel import give_back
from musehub_pipeline.queue.claim import Rescued
from musehub_pipeline.queue.lease import Lease

_WORTH_GIVING_BACK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What `unpack` found in an mpack: where all that is new lies, and how it was judged."""

    # New items, sorted by id, without repeats. Of a job indexed again, all snapshots and commits.
    objects: Places  # with marks
    snapshots: Places
    commits: Places
    objects_total: int
    unverified_ids: int  # recorded under MUSEHUB_ID_POLICY=record
    old_head: str | None  # where the branch stood when the push was judged

    def items(self, kind: Kind) -> Places:
        """Return what is new of a kind, and of objects also what is not proven."""
        tables = {"object": self.objects, "snapshot": self.snapshots, "commit": self.commits}
        return tables[kind]

    @property
    def rows(self) -> int:
        """How many items there are of all kinds."""
        return len(self.objects) + len(self.snapshots) + len(self.commits)

    @property
    def size_bytes(self) -> int:
        """What the tables of them take in memory."""
        return self.objects.size_bytes + self.snapshots.size_bytes + self.commits.size_bytes

    @property
    def missing_objects(self) -> PlaceView:
        """Those that storage lacks."""
        return self.objects.marked(MISSING)

    @property
    def unheld_objects(self) -> PlaceView:
        """Those that the repo does not hold yet, whoever else does."""
        return self.objects.marked(UNHELD)

    @property
    def unproven_objects(self) -> PlaceView:
        """Those of which only a row says that storage has them."""
        return self.objects.marked(UNPROVEN)


class Unpacked(NamedTuple):
    """A job that has been unpacked, its mpack and what is in it."""

    job: Job
    mpack: MpackFile
    contents: Contents


@dataclass(frozen=True, kw_only=True)
class Item:
    """One job on its way through the phases."""

    lease: Lease
    claimed_at: float  # monotonic seconds
    job: Job | None = None  # None where its payload cannot be read
    size_bytes: int | None = None  # of the mpack; None where storage has none, or does not tell
    mpack: MpackFile | None = None
    contents: Contents | None = None
    timings: dict[Timing, float] = field(default_factory=dict)  # milliseconds by timing key
    counts: dict[Count, int] = field(default_factory=dict)
    error: JobError | None = None
    outcome: Outcome | None = None  # what `summarize` made of it

    @property
    def claim(self) -> Claim:
        """What says which job it is, and which attempt."""
        return self.lease.claim

    @property
    def holds_up(self) -> bool:
        """Whether the later jobs of its repo have to wait.

        They wait if they may rely on what this one failed to bring. They cannot rely on it if it
        was refused before they were judged, or is indexed again and was never unpacked.
        """
        if self.error is None or self.contents is not None or isinstance(self.error, Deferral):
            return self.error is not None
        refused = isinstance(self.error, Rejection) and self.error.fault not in READ_AGAIN
        return self.lease.holds_repo and not refused

    @property
    def unpacked(self) -> Unpacked:
        """The job, its mpack and what is in it, once that has been unpacked."""
        if self.job is None or self.mpack is None or self.contents is None:
            raise RuntimeError(f"job {self.claim.job_id} has not been unpacked")
        return Unpacked(self.job, self.mpack, self.contents)

    def counted(self, **counts: int) -> "Item":
        """Return the item with more counts."""
        return replace(self, counts=self.counts | counts)


def counted_each(items: Sequence[Item], count: Count, numbers: Sequence[int]) -> list[Item]:
    """Return the items with a count more, of each its own number."""
    return [item.counted(**{count: number}) for item, number in zip(items, numbers, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The jobs of one run, oldest first."""

    run_id: str
    items: tuple[Item, ...] = ()
    rescued: tuple[Rescued, ...] = ()  # jobs that runs before this one had left behind
    put_back_ms: float = 0.0  # what was spent on jobs that are no longer in the batch
    # What `summarize` has to say:
    results: tuple[Result, ...] = ()  # of every job that is done
    lines: tuple[tuple[int, str], ...] = ()  # level and summary line of every job
    excesses: tuple[Excess, ...] = ()  # the times over their budgets, the worst first

    def forget(self, kind: Kind) -> None:
        """Let go of the items of a kind, which nothing reads any more.

        The batch itself is kept by Dagster until the run ends, and what is written next may be
        large.
        """
        tables = [item.contents.items(kind) for item in self.items if item.contents is not None]
        freed_bytes = sum(table.size_bytes for table in tables)
        for table in tables:
            table.clear()
        if freed_bytes > _WORTH_GIVING_BACK_BYTES:
            give_back()

    @property
    def live(self) -> tuple[Item, ...]:
        """The items that nothing has stopped yet."""
        return tuple(item for item in self.items if item.error is None)
