"""How a backfill divides its jobs, when it rests, and what it says in the end."""

from collections.abc import Sequence
from typing import Any

import pytest

from musehub_pipeline.domain.backfill import (
    PastJob,
    Report,
    given_up_line,
    pause_seconds,
    split_into_batches,
)
from musehub_pipeline.domain.mpack import LEAST_ITEM_BYTES
from musehub_pipeline.domain.result import COUNTS, TIMINGS

ROWS = 1_000_000


def divided(
    sizes: Sequence[int], *, batch_jobs: int = 3, batch_bytes: int = 100
) -> list[list[int]]:
    jobs = [PastJob(job_id=f"{n}", attempt=1, size_bytes=size) for n, size in enumerate(sizes)]
    portions = list(
        split_into_batches(jobs, batch_jobs=batch_jobs, batch_bytes=batch_bytes, batch_rows=ROWS)
    )
    assert [job for portion in portions for job in portion] == jobs
    return [[job.size_bytes for job in portion] for portion in portions]


@pytest.mark.parametrize(
    ("sizes", "portions"),
    [
        ([], []),
        ([7], [[7]]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([1, 2, 3, 4], [[1, 2, 3], [4]]),
        ([60, 40, 1], [[60, 40], [1]]),
        ([60, 41, 1], [[60], [41, 1]]),
        ([1, 500, 1], [[1], [500], [1]]),  # a larger one goes alone
        ([500, 500], [[500], [500]]),
        ([100, 0, 0, 0], [[100, 0, 0], [0]]),  # sizes that are not known
    ],
)
def test_a_batch_has_so_many_jobs_and_bytes_at_the_most(
    sizes: list[int], portions: list[list[int]]
) -> None:
    assert divided(sizes) == portions


def test_a_batch_has_no_more_rows_than_its_bytes_can_hold() -> None:
    jobs = [PastJob(f"{n}", 1, 2 * LEAST_ITEM_BYTES) for n in range(5)]

    portions = split_into_batches(jobs, batch_jobs=9, batch_bytes=10**6, batch_rows=5)

    assert [len(portion) for portion in portions] == [2, 2, 1]


def test_a_suspect_goes_alone_and_in_its_place() -> None:
    jobs = [PastJob(f"{n}", 1, 1, suspect=n in {0, 3, 4}) for n in range(8)]

    portions = split_into_batches(jobs, batch_jobs=2, batch_bytes=100, batch_rows=ROWS)

    assert [[job.job_id for job in portion] for portion in portions] == [
        *(["0"], ["1", "2"], ["3"], ["4"], ["5", "6"], ["7"]),
    ]


def test_what_is_given_up_is_told_with_what_to_do() -> None:
    assert given_up_line(1_200) == (
        "1,200 jobs are given up: over each, MUSEHUB_MAX_KILLS runs have died;"
        " raise it to try them again"
    )


def test_a_batch_is_made_when_it_is_asked_for() -> None:
    def jobs() -> Any:
        yield from (PastJob(job_id=f"{n}", attempt=1, size_bytes=1) for n in range(3))
        raise AssertionError("nobody has asked for more")

    portions = split_into_batches(jobs(), batch_jobs=2, batch_bytes=100, batch_rows=ROWS)

    assert [job.job_id for job in next(portions)] == ["0", "1"]


@pytest.mark.parametrize(
    ("waiting", "seconds"), [(0, 0.0), (1, 0.1), (50, 5.0), (100, 10.0), (10_000, 10.0)]
)
def test_a_pause_grows_with_the_live_jobs_that_wait_up_to_ten_seconds(
    waiting: int, seconds: float
) -> None:
    assert pause_seconds(waiting) == pytest.approx(seconds)


def result(number: int) -> dict[str, Any]:
    counts = {name: number * place for place, name in enumerate(COUNTS)}
    times = {name: number + place / 4 for place, name in enumerate(TIMINGS)}
    return {"job_id": f"{number}", "mpack_size_bytes": number * 10, **counts, **times}


def test_a_report_adds_up_a_batch() -> None:
    report = Report.of([result(1), result(2)], failed=["BAD_ID", "BAD_ID"], kept=["MPACK_MISSING"])

    assert report.as_dict() == {
        "indexed": 2,
        "failed": {"BAD_ID": 2},
        "kept": {"MPACK_MISSING": 1},
        "mpack_bytes": 30,
        **{name: 3 * place for place, name in enumerate(COUNTS)},
        **{name: 3 + place / 2 for place, name in enumerate(TIMINGS)},
    }
    assert list(report.as_dict())[4:] == [*COUNTS, *TIMINGS]


def test_reports_of_batches_add_up_to_that_of_all_jobs() -> None:
    batch = [Report.of([result(n)], failed=["BAD_ID"], kept=[f"{n}"]) for n in (1, 2)]
    nothing = Report.of([], failed=[], kept=[])

    both = sum([*batch, nothing], Report())

    assert both == Report.of([result(1), result(2)], failed=["BAD_ID"] * 2, kept=["1", "2"])
    assert batch[0].kept == {"1": 1}


def test_a_report_of_nothing_has_all_keys() -> None:
    assert Report().as_dict() == {
        "indexed": 0,
        "failed": {},
        "kept": {},
        "mpack_bytes": 0,
        **dict.fromkeys(COUNTS, 0),
        **dict.fromkeys(TIMINGS, 0.0),
    }
