"""Work on a batch: every job has its own time and its own trouble, and a repo's jobs keep order."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Barrier
from typing import cast

import pytest

from musehub_pipeline.domain.errors import Deferral, Fault, JobError, Rejection, Transient, Trouble
from musehub_pipeline.domain.job import Claim
from musehub_pipeline.objects.mpacks import MpackFile
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_group, each_job
from musehub_pipeline_tests.phases.leases import lease_of, past_lease_of

GONE = Rejection(Fault.REPO_UNKNOWN, "gone")
MISSING = Rejection(Fault.MPACK_MISSING, "missing")  # which is read again
DOWN = Transient(Trouble.STORAGE_UNAVAILABLE, "down")
AWAY = Transient(Trouble.DATABASE_UNAVAILABLE, "away")


def batch(*repos: str) -> Batch:
    """Return a batch with a job for each repo; jobs are called by their number."""
    claims = (
        Claim(job_id=f"{number}", repo_id=repo_id, attempt=1, run_id="run")
        for number, repo_id in enumerate(repos)
    )
    return Batch(
        run_id="run",
        items=tuple(Item(lease=lease_of(claim), claimed_at=0.0) for claim in claims),
    )


def failing(**errors: Exception) -> Callable[[Item], Item]:
    """Return work that counts, and raises for the jobs that are named."""

    def work(item: Item) -> Item:
        error = errors.get(f"job{item.claim.job_id}")
        if error is not None:
            raise error
        return item.counted(done=1)

    return work


def ends(after: Batch) -> list[str]:
    return ["fine" if item.error is None else str(item.error.code) for item in after.items]


@pytest.mark.parametrize("together", [False, True])
def test_the_times_of_the_jobs_add_up_to_that_of_the_phase(together: bool) -> None:
    moments: list[float] = []

    def work(item: Item) -> Item:
        moments.append(time.monotonic())
        time.sleep(0.002 * (1 + int(item.claim.job_id)))
        moments.append(time.monotonic())
        if item.claim.job_id == "1":
            raise DOWN
        return item

    before = time.monotonic()
    after = each_job(batch("r", "s", "t", "u"), "unpack", work, together=together)
    whole = time.monotonic() - before

    times = [item.timings["unpack_ms"] for item in after.items]
    assert min(times) > 0
    assert max(moments) - min(moments) <= sum(times) / 1e3 <= whole


def test_the_work_at_the_end_is_shared_out_too() -> None:
    moments: list[float] = []

    def finish() -> None:
        moments.append(time.monotonic())
        time.sleep(0.005)
        moments.append(time.monotonic())

    after = each_job(batch("r", "s"), "put_objects", failing(), at_end=finish)

    began, ended = moments
    assert sum(item.timings["object_puts_ms"] for item in after.items) / 1e3 >= ended - began


def test_the_times_of_earlier_phases_are_kept() -> None:
    after = each_job(batch("r"), "unpack", failing())
    after = each_job(after, "insert_objects", failing())
    after = each_job(after, "summarize", failing())  # which has no time of its own

    assert list(after.items[0].timings) == ["unpack_ms", "object_insert_ms"]


@pytest.mark.parametrize("together", [False, True])
def test_an_error_stays_with_its_job(together: bool) -> None:
    work = failing(job1=GONE, job2=DOWN)

    after = each_job(batch("r", "s", "t", "u"), "unpack", work, together=together)

    assert [item.error for item in after.items] == [None, GONE, DOWN, None]
    assert [item.counts for item in after.items] == [{"done": 1}, {}, {}, {"done": 1}]
    assert [item.claim.job_id for item in after.live] == ["0", "3"]


@pytest.mark.parametrize("together", [False, True])
def test_a_job_that_was_stopped_is_not_worked_on_again(together: bool) -> None:
    stopped = each_job(batch("r", "s"), "fetch_mpack", failing(job0=GONE))

    after = each_job(stopped, "unpack", failing(), together=together)

    assert after.items[0] == stopped.items[0]
    assert after.items[1].counts == {"done": 1}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("odd"), OSError(28, "odd")])
def test_an_unexpected_error_is_an_internal_one_and_leaves_its_traceback_in_the_log(
    together: bool, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="musehub_pipeline.phases"):
        after = each_job(batch("r", "s"), "unpack", failing(job0=error), together=together)

    found = after.items[0].error
    assert isinstance(found, Transient)
    assert (found.code.value, found.message) == (
        "INTERNAL_ERROR",
        f"{type(error).__name__}: {error}",
    )
    assert after.items[1].error is None
    [record] = caplog.records
    assert record.getMessage() == "job 0: unexpected error"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("error", [MISSING, DOWN, ValueError("odd")])
def test_later_jobs_of_a_repo_wait_when_an_earlier_one_stops(
    together: bool, error: Exception
) -> None:
    repos = ("r", "s", "r", "s", "r")

    after = each_job(batch(*repos), "unpack", failing(job2=error), together=together)

    assert [isinstance(item.error, Deferral) for item in after.items] == [
        *(False, False, False, False, True)
    ]
    assert ends(after)[:2] == ["fine", "fine"]
    assert ends(after)[3:] == ["fine", "EARLIER_JOB_UNFINISHED"]
    held_back = after.items[4].error
    assert held_back is not None
    assert held_back.message == "job 2 of the same repository goes first"


@pytest.mark.parametrize("together", [False, True])
def test_later_jobs_of_a_repo_do_not_wait_for_one_that_is_refused(together: bool) -> None:
    after = each_job(batch("r", "r"), "unpack", failing(job0=GONE), together=together)

    assert [item.error for item in after.items] == [GONE, None]


def test_later_jobs_of_a_repo_wait_for_one_that_is_refused_when_it_had_been_unpacked() -> None:
    before = batch("r", "r")
    unpacked = tuple(replace(item, contents=object()) for item in before.items)

    after = each_job(replace(before, items=unpacked), "put_objects", failing(job0=GONE))

    assert ends(after)[1] == "EARLIER_JOB_UNFINISHED"


def test_a_job_that_is_held_back_is_not_begun() -> None:
    begun: list[str] = []

    def work(item: Item) -> Item:
        begun.append(item.claim.job_id)
        raise DOWN

    each_job(batch("r", "r", "s"), "unpack", work)

    assert begun == ["0", "2"]


def test_a_database_that_is_back_in_a_moment_is_no_trouble() -> None:
    tries: list[str] = []

    def work(item: Item) -> Item:
        tries.append(item.claim.job_id)
        if len(tries) == 1:
            raise AWAY
        return item

    after = each_job(batch("r", "s"), "insert_objects", work)

    assert tries == ["0", "0", "1"]
    assert len(after.live) == 2


@pytest.mark.slow
def test_a_database_that_stays_away_is_waited_for_once_and_not_for_each_job() -> None:
    tries: list[str] = []

    def work(item: Item) -> Item:
        tries.append(item.claim.job_id)
        if item.claim.job_id != "0":
            raise AWAY
        return item

    after = each_job(batch("r", "s", "t", "u"), "insert_objects", work)

    assert tries == ["0"] + ["1"] * 4
    assert [item.error for item in after.items] == [None, AWAY, AWAY, AWAY]


@pytest.mark.slow
def test_nor_is_it_waited_for_again_for_each_job_of_a_group() -> None:
    work = GroupWork(job0=AWAY)

    after = each_group(sized(batch(*"rst"), 1, 1, 2 << 20), "insert_objects", work)

    assert work.groups == [["0", "1"]] * 4
    assert ends(after) == ["DATABASE_UNAVAILABLE"] * 3


def test_jobs_work_together_where_they_may() -> None:
    meeting = Barrier(3, timeout=10)

    def work(item: Item) -> Item:
        meeting.wait()
        return item

    after = each_job(batch("r", "s", "t"), "fetch_mpack", work, together=True)

    assert ends(after) == ["fine"] * 3


def test_many_jobs_keep_their_order_and_their_outcomes() -> None:
    repos = [f"r{n}" for n in range(40)]
    errors = {f"job{n}": DOWN for n in range(0, 40, 3)}

    after = each_job(batch(*repos), "fetch_mpack", failing(**errors), together=True)

    assert [item.claim.repo_id for item in after.items] == repos
    assert [item.error for item in after.items] == [None if n % 3 else DOWN for n in range(40)]


def test_a_failure_at_the_end_is_that_of_every_job_that_went_well() -> None:
    def fail() -> None:
        raise DOWN

    after = each_job(batch("r", "s"), "put_objects", failing(job0=GONE), at_end=fail)

    assert [item.error for item in after.items] == [GONE, DOWN]


def test_an_empty_batch_is_no_trouble() -> None:
    assert each_job(batch(), "unpack", failing()) == batch()
    stopped = each_job(batch("r"), "unpack", failing(job0=GONE))
    assert each_job(stopped, "insert_objects", failing(), together=True) == stopped


def test_an_item_that_was_not_unpacked_says_so() -> None:
    [item] = batch("r").items

    with pytest.raises(RuntimeError, match="job 0 has not been unpacked"):
        _ = item.unpacked
    assert replace(item, counts={"a": 1}).counted(b=2).counts == {"a": 1, "b": 2}


def test_behind_what_is_put_off_no_later_one_is_judged_of_jobs_indexed_again() -> None:
    claims = [Claim(job_id=f"{n}", repo_id="a", attempt=1, run_id="run") for n in range(2)]
    past = tuple(Item(lease=past_lease_of(claim), claimed_at=0.0) for claim in claims)
    full = Deferral(Trouble.OVER_BATCH, "full")

    after = each_job(Batch(run_id="run", items=past), "unpack", failing(job0=full, job1=GONE))

    assert ends(after) == ["OVER_BATCH", "EARLIER_JOB_UNFINISHED"]


class Mpack:
    """As much of an mpack as groups are made by."""

    def __init__(self, size: int) -> None:
        self.size = size


def sized(before: Batch, *sizes: int) -> Batch:
    items = [
        replace(item, mpack=cast("MpackFile", Mpack(size)))
        for item, size in zip(before.items, sizes, strict=True)
    ]
    return replace(before, items=tuple(items))


class GroupWork:
    """Work on groups, which notes them, and fails with those that hold what is at fault."""

    def __init__(self, **errors: Exception) -> None:
        self._errors = errors
        self.groups: list[list[str]] = []

    def __call__(self, items: Sequence[Item]) -> Sequence[Item]:
        self.groups.append([item.claim.job_id for item in items])
        return [failing(**self._errors)(item) for item in items]


def test_small_jobs_that_follow_each_other_are_worked_on_together() -> None:
    work = GroupWork()
    before = sized(batch(*"rstuvw"), 100, 300, 2 << 20, 100, 1 << 20, 0)

    after = each_group(before, "insert_objects", work)

    assert work.groups == [["0", "1"], ["2"], ["3"], ["4", "5"]]
    assert [item.counts for item in after.items] == [{"done": 1}] * 6
    assert all(item.timings["object_insert_ms"] >= 0 for item in after.items)


def test_the_time_of_a_group_is_shared_by_the_sizes_of_its_mpacks() -> None:
    before = sized(batch("r", "s", "t"), 0, 1 << 10, 97 << 10)

    after = each_group(before, "insert_objects", GroupWork())

    times = [item.timings["object_insert_ms"] for item in after.items]
    assert [time / sum(times) for time in times] == pytest.approx([0.01, 0.02, 0.97], abs=0.001)


def test_a_group_is_of_a_hundred_jobs_at_the_most() -> None:
    work = GroupWork()

    each_group(batch(*map(str, range(201))), "summarize", work)

    assert [len(group) for group in work.groups] == [100, 100, 1]


def test_for_one_that_is_by_itself_there_may_be_a_better_way() -> None:
    work = GroupWork()
    before = sized(batch("r", "s", "t"), 100, 100, 2 << 20)

    after = each_group(before, "insert_objects", work, alone=lambda item: item.counted(alone=1))

    assert work.groups == [["0", "1"]]
    assert [item.counts for item in after.items] == [{"done": 1}, {"done": 1}, {"alone": 1}]


@pytest.mark.parametrize("error", [MISSING, DOWN, ValueError("odd")])
def test_what_fails_together_is_done_one_by_one(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    work = GroupWork(job1=error)

    with caplog.at_level(logging.ERROR, logger="musehub_pipeline.phases"):
        after = each_group(batch("r", "s", "s", "t"), "insert_objects", work)

    # Behind what fails, later ones of its repo wait.
    assert work.groups == [["0", "1", "2", "3"], ["0"], ["1"], ["3"]]
    code = str(error.code) if isinstance(error, JobError) else "INTERNAL_ERROR"
    assert ends(after) == ["fine", code, "EARLIER_JOB_UNFINISHED", "fine"]
    assert len(caplog.records) == isinstance(error, ValueError)
