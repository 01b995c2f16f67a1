"""Budgets of phases: how they are written, and which times are over them."""

import pytest

from musehub_pipeline.domain.budgets import BUDGET_KEYS, Excess, over_budget, parse_budgets


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("", {}),
        ("  ", {}),
        ("unpack_ms=5", {"unpack_ms": 5.0}),
        (" unpack_ms = 0.5 , elapsed_ms=1e3 ", {"unpack_ms": 0.5, "elapsed_ms": 1000.0}),
        (",".join(f"{key}=1" for key in BUDGET_KEYS), dict.fromkeys(BUDGET_KEYS, 1.0)),
    ],
)
def test_budgets_are_read(text: str, budgets: dict[str, float]) -> None:
    assert parse_budgets(text) == budgets


@pytest.mark.parametrize("text", ["unpack_ms", "unpack_ms=5,", ",", "unpack_ms:5"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=MILLISECONDS"):
        parse_budgets(text)


def test_an_unknown_key_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"'puts' \(given '5'\) is not one of fetch_mpack_ms, "):
        parse_budgets("puts=5")


def test_what_is_refused_is_named_in_short() -> None:
    with pytest.raises(ValueError, match="KEY=MILLISECONDS") as caught:
        parse_budgets("x" * 10_000)

    assert len(str(caught.value)) < 200


def test_times_over_their_budgets_are_told_by_the_greatest_factor_first() -> None:
    budgets = {"unpack_ms": 10.0, "elapsed_ms": 100.0}
    results = [
        {"job_id": job_id, "repo_id": "r", "unpack_ms": unpack, "elapsed_ms": elapsed}
        for job_id, unpack, elapsed in (("a", 11.0, 100.0), ("b", 1.0, 99.0), ("c", 30.0, 200.0))
    ]

    assert over_budget(results, budgets) == (
        Excess(job_id="c", repo_id="r", key="unpack_ms", taken=30.0, budget=10.0),
        Excess(job_id="c", repo_id="r", key="elapsed_ms", taken=200.0, budget=100.0),
        Excess(job_id="a", repo_id="r", key="unpack_ms", taken=11.0, budget=10.0),
    )
    assert over_budget(results, {}) == ()
