"""The result of a job: one dict for the row, the op's output and the caller; and its summary line.

Dashboards and alerts read these names; they are a contract.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

TIMING_OF_PHASE = {
    "fetch_mpack": "fetch_mpack_ms",
    "unpack": "unpack_ms",
    "put_objects": "object_puts_ms",
    "insert_objects": "object_insert_ms",
    "upsert_object_refs": "object_refs_ms",
    "insert_snapshots": "snapshot_insert_ms",
    "insert_commits": "commit_insert_ms",
}
"""The timing key of each phase that has one; float milliseconds of a monotonic clock."""

TIMINGS = tuple(TIMING_OF_PHASE.values())

COUNTS = (
    "objects_total",
    "objects_put",
    "object_bytes_put",
    "objects_inserted",
    "object_refs_inserted",
    "snapshots_inserted",
    "commits_inserted",
)
"""The counts of a result. `objects_total` is the length of the mpack's list."""

KEYS = (
    "job_id",
    "repo_id",
    "mpack_key",
    "mpack_size_bytes",
    "elapsed_ms",
    *TIMINGS,
    *COUNTS,
    "branch",
    "head",
    "head_moved",
    "attempt",
    "batch_jobs",
    "run_id",
    "index_version",
)
"""The keys of every result, in the order in which people read them."""

Result = dict[str, Any]


class Outcome(StrEnum):
    """What became of a job in a run."""

    DONE = "done"
    FAILED = "failed"
    PUT_BACK = "pending again"
    LOST = "lost"  # to another run
    KEPT = "kept as it was"  # by a backfill


def in_order(result: Mapping[str, Any]) -> Result:
    """Return a result in the order of its keys, which a database does not keep."""
    known = {key: result[key] for key in KEYS if key in result}
    return known | {key: value for key, value in result.items() if key not in known}


def done_line(result: Mapping[str, Any]) -> str:
    """Return the summary line of a job that is done; its figures are those of `result`."""
    timings = " ".join(f"{key.removesuffix('_ms')}={result[key]}ms" for key in TIMINGS)
    return (
        f"✅ [mpack.index] done job={result['job_id']} repo={result['repo_id']} {timings}"
        f" elapsed={result['elapsed_ms']}ms mpack_bytes={result['mpack_size_bytes']}"
        f" objects={result['objects_total']} puts={result['objects_put']}"
        f" snapshots={result['snapshots_inserted']} commits={result['commits_inserted']}"
    )


def failed_line(*, job_id: str, repo_id: str, code: str, message: str) -> str:
    """Return the summary line of a job that failed for good."""
    return f"❌ [mpack.index] failed job={job_id} repo={repo_id} code={code} {message!r}"


def lost_line(*, job_id: str, repo_id: str, code: str, message: str) -> str:
    """Return the summary line of a job that is another run's now."""
    return f"👋 [mpack.index] lost job={job_id} repo={repo_id} code={code} {message!r}"


def retry_line(*, job_id: str, repo_id: str, code: str, message: str) -> str:
    """Return the summary line of a job that went back to pending."""
    return f"🔁 [mpack.index] pending again job={job_id} repo={repo_id} code={code} {message!r}"


def kept_line(*, job_id: str, repo_id: str, code: str, message: str) -> str:
    """Return the summary line of a job that a backfill could not index again."""
    return f"↩️ [mpack.index] kept as it was job={job_id} repo={repo_id} code={code} {message!r}"


def over_budget_line(*, job_id: str, repo_id: str, times: Mapping[str, tuple[float, float]]) -> str:
    """Return the line of a job that is done, but too late; `times` are (taken, budget) by key."""
    figures = " ".join(f"{key}={taken} budget={budget}" for key, (taken, budget) in times.items())
    return f"🐢 [mpack.index] over budget job={job_id} repo={repo_id} {figures}"
