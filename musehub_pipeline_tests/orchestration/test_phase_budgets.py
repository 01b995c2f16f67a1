"""The check of the budgets: a run judges its own jobs, a hand the latest run; no job suffers."""

import logging

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.observed import evaluations, run, table_of

HISTORY = small_history()
MPACK = HISTORY.mpack()
LAST = list(HISTORY.commits)[-1]
NOT_MSGPACK = b"\xc1"
EMPTY = History().mpack()
TINY = "object_puts_ms=0.000001,elapsed_ms=0.000001"
AMPLE = "object_puts_ms=1e9,elapsed_ms=1e9"
LOGGER = "musehub_pipeline.index"


def test_without_budgets_nothing_is_judged(
    hub: Hub, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    hub.push(hub.create_repo(), MPACK)

    with caplog.at_level(logging.WARNING, LOGGER):
        run(hub, instance)

    assert evaluations(instance) == []
    assert caplog.record_tuples == []


def test_within_its_budgets_a_run_passes_the_check_and_says_nothing(
    hub: Hub, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    hub.push(hub.create_repo("a"), MPACK)
    hub.push(hub.create_repo("b"), NOT_MSGPACK)

    with caplog.at_level(logging.WARNING, LOGGER):
        run(hub, instance, phase_budgets_ms=AMPLE)

    [evaluation] = evaluations(instance)
    assert (evaluation.passed, evaluation.severity) == (True, dg.AssetCheckSeverity.WARN)
    metadata = dict(evaluation.metadata)
    assert table_of(metadata.pop("worst")) == []  # pyright: ignore[reportArgumentType]
    assert {name: value.value for name, value in metadata.items()} == {
        "budgets_ms": {"object_puts_ms": 1e9, "elapsed_ms": 1e9},
        "jobs_judged": 1,
        "jobs_over_budget": 0,
    }
    assert [line for line in caplog.messages if "over budget" in line] == []


def test_a_job_over_budget_is_done_and_fails_the_check_with_a_warning(
    hub: Hub, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = hub.push(hub.create_repo(), MPACK, head=LAST)

    with caplog.at_level(logging.WARNING, LOGGER):
        run_id = run(hub, instance, phase_budgets_ms=TINY + ",unpack_ms=1e9")

    row = hub.job(job_id)
    result = row["result"]
    assert (row["status"], hub.head("repo-song")) == ("done", LAST)
    assert instance.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS
    [evaluation] = evaluations(instance)
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    metadata = dict(evaluation.metadata)
    assert (
        table_of(metadata.pop("worst"))
        == [  # pyright: ignore[reportArgumentType]
            {
                "key": key,
                "taken_ms": result[key],
                "budget_ms": 0.000001,
                "job": job_id[7:19],
                "repo": "ada/song",
            }
            for key in ("elapsed_ms", "object_puts_ms")
        ]
    )
    assert {name: value.value for name, value in metadata.items()} == {
        "budgets_ms": {"object_puts_ms": 0.000001, "elapsed_ms": 0.000001, "unpack_ms": 1e9},
        "jobs_judged": 1,
        "jobs_over_budget": 1,
    }
    line = (
        f"🐢 [mpack.index] over budget job={job_id} repo=repo-song"
        f" elapsed_ms={result['elapsed_ms']} budget=1e-06"
        f" object_puts_ms={result['object_puts_ms']} budget=1e-06"
    )
    assert caplog.record_tuples == [(LOGGER, logging.WARNING, line)]
    entries = {e.user_message: e.level for e in instance.all_logs(run_id)}
    assert entries[line] == logging.WARNING


def test_the_check_names_the_ten_worst_times_of_a_batch(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    for n in range(12):
        hub.push(hub.create_repo(f"r{n}"), EMPTY)

    run(hub, instance, phase_budgets_ms="elapsed_ms=0.000001")

    [evaluation] = evaluations(instance)
    worst = table_of(evaluation.metadata["worst"])  # pyright: ignore[reportArgumentType]
    assert evaluation.metadata["jobs_over_budget"].value == 12
    assert len({row["job"] for row in worst}) == 10
    assert worst == sorted(worst, key=lambda row: -row["taken_ms"])


@pytest.mark.parametrize(
    ("budgets", "passed", "over"),
    [("", True, set()), (AMPLE, True, set()), (TINY, False, {"object_puts_ms", "elapsed_ms"})],
    ids=["none", "ample", "tiny"],
)
def test_the_check_executed_by_hand_judges_the_latest_run_that_did_a_job(
    hub: Hub, instance: dg.DagsterInstance, budgets: str, passed: bool, over: set[str]
) -> None:
    hub.push(hub.create_repo(), MPACK)
    run(hub, instance)
    hub.push("repo-song", NOT_MSGPACK)
    run(hub, instance)
    settings = hub.settings.model_copy(update={"phase_budgets_ms": budgets})
    job = build_defs(musehub=fixed_resource(settings)).resolve_implicit_global_asset_job_def()

    assert job.execute_in_process(instance=instance).success

    [evaluation] = evaluations(instance)
    assert (evaluation.passed, evaluation.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert set(evaluation.metadata["over_budget_ms"].value) == over  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("mpack", [None, NOT_MSGPACK], ids=["no run", "no job done"])
def test_the_check_executed_where_nothing_is_done_says_that_it_judged_nothing(
    hub: Hub, instance: dg.DagsterInstance, mpack: bytes | None
) -> None:
    if mpack:
        hub.push(hub.create_repo(), mpack)
        run(hub, instance)
    settings = hub.settings.model_copy(update={"phase_budgets_ms": TINY})
    job = build_defs(musehub=fixed_resource(settings)).resolve_implicit_global_asset_job_def()

    assert job.execute_in_process(instance=instance).success

    [evaluation] = evaluations(instance)
    assert (evaluation.passed, evaluation.description) == (True, "There is nothing to judge.")
