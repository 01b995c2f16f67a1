"""The simulation: where what comes of a load can be told by hand, it says the same."""

import pytest

from musehub_pipeline_tests.capacity.rates import Costs, Rates
from musehub_pipeline_tests.capacity.simulation import Load, simulate

RATES = Rates(
    claim=Costs(0.01, 0.0001),
    process=Costs(0.1, 0.004, 0.02),
    database=Costs(0.05, 0.003, 0.01),
    idle=Costs(0.02, 0.001),
    hub_bytes=Costs(0, 4_000, 300_000),
    dagster_bytes=100_000,
    dagster_rows=70,
)
FULL_RUN = 0.01 + 0.0001 * 200 + (0.1 + 0.05 + 0.02) + (0.004 + 0.003 + 0.001) * 200
BUSY = 0.1 + 0.004 * 200 + 0.05 + 0.003 * 200  # of it, on some core


def backlog(*, workers: int = 1, cores: int | None = None, busiest_share: float = 0.0) -> Load:
    """Return eight full batches that come at once; all of `cores` are for everybody."""
    return Load(
        pushes_a_second=0,
        pushes=1_600,
        repos=1_000_000,
        busiest_share=busiest_share,
        workers=workers,
        worker_cores=cores,
        database_cores=100 if cores is None else None,
    )


def test_one_worker_takes_batch_after_batch() -> None:
    outcome = simulate(backlog(), RATES)

    assert outcome.seconds == pytest.approx(8 * FULL_RUN)
    assert outcome.runs == 8
    assert outcome.busy_workers == pytest.approx(1)
    assert outcome.busy_claims == pytest.approx(0.03 / FULL_RUN)


def test_workers_with_cores_of_their_own_wait_for_each_other_only_to_claim() -> None:
    outcome = simulate(backlog(workers=8), RATES)

    assert outcome.seconds == pytest.approx(FULL_RUN + 7 * 0.03)


def test_cores_that_are_shared_are_what_there_is() -> None:
    assert simulate(backlog(workers=8, cores=2), RATES).seconds >= 8 * BUSY / 2
    assert simulate(backlog(workers=8, cores=1), RATES).seconds >= 8 * BUSY


def test_one_repository_is_one_run_at_a_time_whatever_there_is() -> None:
    alone = simulate(backlog(busiest_share=1), RATES)
    beside = simulate(backlog(busiest_share=1, workers=8), RATES)

    assert beside.seconds == alone.seconds == pytest.approx(8 * FULL_RUN)


def test_a_megabyte_costs_what_the_rates_say() -> None:
    lone = Load(pushes_a_second=0, pushes=1, megabytes=10, workers=1, database_cores=1)

    assert simulate(lone, RATES).done_p95 == pytest.approx(0.01 + 0.0001 + 0.17 + 0.008 + 0.3)


def test_workers_that_are_too_few_fall_behind() -> None:
    load = Load(pushes_a_second=400, pushes=8_000, workers=1, database_cores=8)
    enough = Load(pushes_a_second=400, pushes=8_000, workers=8, database_cores=8)

    assert simulate(load, RATES).seconds > 1.5 * 8_000 / 400
    assert simulate(enough, RATES).seconds < 1.1 * 8_000 / 400
    assert simulate(enough, RATES).done_p95 < 2


def test_rates_are_read_as_they_were_written() -> None:
    written = RATES.as_dict()

    assert Rates.from_dict({name: _as_json(value) for name, value in written.items()}) == RATES


def _as_json(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
