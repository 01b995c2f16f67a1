"""The result of a job: one dict for the row, the op's output and the caller; and its summary line.

Dashboards and alerts read these names; they are a contract.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

Timing = Literal[
    "fetch_mpack_ms",
    "unpack_ms",
    "object_puts_ms",
    "object_insert_ms",
    "object_refs_ms",
    "snapshot_insert_ms",
    "commit_insert_ms",
]
"""What a phase took: float milliseconds of a monotonic clock."""

Count = Literal[
    "objects_total",
    "objects_put",
    "object_bytes_put",
    "objects_inserted",
    "object_refs_inserted",
    "snapshots_inserted",
    "commits_inserted",
]
"""How many; `objects_total` is the length of the mpack's list."""


class Result(TypedDict):
    """What a job that is done has to say, in the order in which people read it."""

    job_id: str
    repo_id: str
    mpack_key: str
    mpack_size_bytes: int
    elapsed_ms: float  # its phases, and an equal share of the batch's time outside phases
    batch_elapsed_ms: float  # on the clock, from the claim of its batch to its publication
    fetch_mpack_ms: float
    unpack_ms: float
    object_puts_ms: float
    object_insert_ms: float
    object_refs_ms: float
    snapshot_insert_ms: float
    commit_insert_ms: float
    objects_total: int
    objects_put: int
    object_bytes_put: int
    objects_inserted: int
    object_refs_inserted: int
    snapshots_inserted: int
    commits_inserted: int
    branch: str | None
    head: str | None
    head_moved: bool
    attempt: int
    batch_jobs: int
    run_id: str
    index_version: int
    unverified_ids: NotRequired[int]  # where MUSEHUB_ID_POLICY=record let any pass


TIMINGS: tuple[Timing, ...] = get_args(Timing)
COUNTS: tuple[Count, ...] = get_args(Count)
KEYS = tuple(key for key in Result.__annotations__ if key in Result.__required_keys__)

TIMING_OF_PHASE: dict[str, Timing] = {
    "fetch_mpack": "fetch_mpack_ms",
    "unpack": "unpack_ms",
    "put_objects": "object_puts_ms",
    "insert_objects": "object_insert_ms",
    "upsert_object_refs": "object_refs_ms",
    "insert_snapshots": "snapshot_insert_ms",
    "insert_commits": "commit_insert_ms",
}
"""The timing key of each phase that has one."""


class Outcome(StrEnum):
    """What became of a job in a run."""

    DONE = "done"
    FAILED = "failed"
    PUT_BACK = "pending again"
    LOST = "lost"  # to another run
    KEPT = "kept as it was"  # by a backfill


_MARKS = {
    Outcome.FAILED: "❌",
    Outcome.PUT_BACK: "🔁",
    Outcome.LOST: "👋",
    Outcome.KEPT: "↩️",
}
"""How the summary lines of jobs that are not done begin."""


def in_order(stored: Mapping[str, Any]) -> Result:
    """Return a result in the order of its keys, which a database does not keep.

    One of an older version may lack some, or have others.
    """
    known = {key: stored[key] for key in KEYS if key in stored}
    return cast("Result", known | {key: stored[key] for key in stored if key not in known})


def done_line(result: Result) -> str:
    """Return the summary line of a job that is done; its figures are those of `result`."""
    timings = " ".join(f"{key.removesuffix('_ms')}={result[key]}ms" for key in TIMINGS)
    return (
        f"✅ [mpack.index] done job={result['job_id']} repo={result['repo_id']} {timings}"
        f" elapsed={result['elapsed_ms']}ms mpack_bytes={result['mpack_size_bytes']}"
        f" objects={result['objects_total']} puts={result['objects_put']}"
        f" snapshots={result['snapshots_inserted']} commits={result['commits_inserted']}"
    )


def ending_line(outcome: Outcome, *, job_id: str, repo_id: str, code: str, message: str) -> str:
    """Return the summary line of a job that is not done."""
    mark = _MARKS[outcome]
    return f"{mark} [mpack.index] {outcome} job={job_id} repo={repo_id} code={code} {message!r}"


def over_budget_line(*, job_id: str, repo_id: str, times: Mapping[str, tuple[float, float]]) -> str:
    """Return the line of a job that is done, but too late; `times` are (taken, budget) by key."""
    figures = " ".join(f"{key}={taken} budget={budget}" for key, (taken, budget) in times.items())
    return f"🐢 [mpack.index] over budget job={job_id} repo={repo_id} {figures}"
