"""What the UI shows of a run: one materialization, one table of its jobs, and a check."""

import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.domain.budgets import BUDGET_KEYS
from musehub_pipeline.domain.result import COUNTS
from musehub_pipeline.orchestration.in_process import Runner, dagster_instance
from musehub_pipeline.orchestration.observation import MPACK_INDEX, bounded, phase_budgets
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub

HISTORY = small_history()
MPACK = HISTORY.mpack()
LAST = list(HISTORY.commits)[-1]
NOT_MSGPACK = b"\xc1"
EMPTY = History().mpack()
TINY = "object_puts_ms=0.000001,elapsed_ms=0.000001"
AMPLE = "object_puts_ms=1e9,elapsed_ms=1e9"
LOGGER = "musehub_pipeline.index"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dagster_instance() as opened:
        yield opened


def run(hub: Hub, instance: dg.DagsterInstance, **changes: Any) -> str:
    """Index one batch, with some settings changed, and return the run's id."""
    Runner(hub.settings.model_copy(update=changes), instance).run()
    return instance.get_runs(limit=1)[0].run_id


def materializations(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Return the figures of each materialization, the newest first."""
    records = instance.fetch_materializations(MPACK_INDEX.key, limit=100).records
    found = [record.asset_materialization for record in records]
    return [
        {name: value.value for name, value in one.metadata.items()}
        for one in found
        if one is not None
    ]


def output_metadata(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """Return the metadata of the output of `summarize`."""
    [event] = [
        entry.dagster_event
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
        if entry.dagster_event and entry.dagster_event.step_key == "summarize"
    ]
    return dict(event.step_output_data.metadata)


def table_of(value: dg.TableMetadataValue) -> list[dict[str, Any]]:
    return [dict(record.data) for record in value.records]


def evaluations(instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    """Return what the checks tab lists, the newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        phase_budgets.check_key, limit=100
    )
    return [record.evaluation for record in history if record.evaluation]


def test_a_run_adds_one_materialization_with_the_figures_of_its_batch(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    done = [hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in "abc"]
    hub.push(hub.create_repo("bad"), NOT_MSGPACK)
    hub.push("repo-bad", MPACK)  # put off behind it
    hub.push(hub.create_repo("thin"), HISTORY.mpack(objects=[]))
    hub.sql(
        "UPDATE musehub_background_jobs SET created_at = now() - interval '1 hour'"
        " WHERE job_id = %(id)s",
        {"id": done[0]},
    )

    run(hub, instance)

    [figures] = materializations(instance)
    results = [hub.job(job_id)["result"] for job_id in done]
    times = {key: sorted(result[key] for result in results) for key in BUDGET_KEYS}
    assert figures.pop("queue_age_seconds") == pytest.approx(3600, abs=60)
    rate = figures.pop("mb_per_second")
    assert 0 < rate <= 3 * len(MPACK) / 1e3 / times["elapsed_ms"][-1] + 0.001
    assert figures == {
        "jobs": 6,
        "jobs_done": 3,
        "jobs_failed": 2,
        "jobs_put_back": 1,
        "jobs_lost": 0,
        "mpack_bytes": 3 * len(MPACK),
        **{name: sum(result[name] for result in results) for name in COUNTS},
        **{f"{key}_p50": values[1] for key, values in times.items()},
        **{f"{key}_p95": values[2] for key, values in times.items()},
        **{f"{key}_max": values[2] for key, values in times.items()},
    }
    assert (figures["objects_total"], figures["objects_put"]) == (3 * 14, 14)


def test_every_figure_is_a_number_that_the_ui_plots(hub: Hub, instance: dg.DagsterInstance) -> None:
    hub.push(hub.create_repo(), MPACK)

    run(hub, instance)

    event = instance.get_latest_materialization_event(MPACK_INDEX.key)
    assert event is not None
    assert event.asset_materialization is not None
    kinds = {type(value) for value in event.asset_materialization.metadata.values()}
    assert kinds == {dg.IntMetadataValue, dg.FloatMetadataValue}


def test_a_run_that_found_no_job_adds_none(hub: Hub, instance: dg.DagsterInstance) -> None:
    run_id = run(hub, instance, phase_budgets_ms=TINY)

    assert materializations(instance) == []
    assert evaluations(instance) == []
    assert table_of(output_metadata(instance, run_id)["batch"]) == []


def test_where_no_job_is_done_there_are_no_times_and_nothing_is_judged(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo(), NOT_MSGPACK)

    run(hub, instance, phase_budgets_ms=TINY)

    [figures] = materializations(instance)
    assert figures.pop("queue_age_seconds") >= 0
    assert figures == {
        "jobs": 1,
        "jobs_done": 0,
        "jobs_failed": 1,
        "jobs_put_back": 0,
        "jobs_lost": 0,
        "mpack_bytes": 0,
        "mb_per_second": 0.0,
        **dict.fromkeys(COUNTS, 0),
    }
    assert evaluations(instance) == []


def test_the_table_of_a_run_has_a_row_for_each_job_what_went_wrong_first(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    done = [hub.push(hub.create_repo(slug), MPACK) for slug in "ab"]
    failed = hub.push(hub.create_repo("bad"), NOT_MSGPACK)
    put_off = hub.push("repo-bad", MPACK)

    run_id = run(hub, instance)

    rows = table_of(output_metadata(instance, run_id)["batch"])
    fetched = {row["job"]: row.pop("fetch_mpack_ms") for row in rows[:2]}
    unpacked = {row["job"]: row.pop("unpack_ms") for row in rows[:2]}
    assert all(isinstance(ms, float) for ms in (fetched | unpacked).values())
    later = dict.fromkeys(BUDGET_KEYS[2:], None)
    assert rows[:2] == [
        {
            "job": failed,
            "repo": "repo-bad",
            "mpack_bytes": 1,
            **later,
            "outcome": "failed MPACK_MALFORMED",
            "reason": hub.job(failed)["error"],
        },
        {
            "job": put_off,
            "repo": "repo-bad",
            "mpack_bytes": len(MPACK),
            **later,
            "outcome": "pending again EARLIER_JOB_UNFINISHED",
            "reason": f"job {failed} of the same repository goes first",
        },
    ]
    results = sorted(
        (hub.job(job_id)["result"] for job_id in done), key=lambda result: -result["elapsed_ms"]
    )
    assert rows[2:] == [
        {
            "job": result["job_id"],
            "repo": result["repo_id"],
            "mpack_bytes": len(MPACK),
            **{key: result[key] for key in BUDGET_KEYS},
            "outcome": "done",
            "reason": "",
        }
        for result in results
    ]


def test_what_strangers_wrote_shows_as_one_short_line(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    repo_id = hub.create_repo("a\x1b[31m\n\u202e" + "<b>" * 100)
    hub.push(repo_id, MPACK, branch="<script>\u2028\r" + "x" * 3000, head="\x1b]0;" + "y" * 3000)

    run_id = run(hub, instance)

    [row] = table_of(output_metadata(instance, run_id)["batch"])
    assert row["repo"].startswith(r"repo-a\x1b[31m\n\u202e<b><b>")
    assert (len(row["repo"]), row["repo"][-1]) == (80, "…")
    assert row["outcome"] == "failed BAD_PAYLOAD"
    assert len(row["reason"]) <= 200
    assert all(row[name].isprintable() for name in ("job", "repo", "outcome", "reason"))


def test_a_table_has_a_hundred_rows_and_says_how_many_were_left_out(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    mpack = hub.upload(EMPTY)
    for n in range(102):
        hub.enqueue(hub.create_repo(f"r{n:03}"), mpack_key=mpack)
    failed = hub.enqueue(hub.create_repo("bad"), mpack_key="nonsense")

    run_id = run(hub, instance, batch_jobs=103)

    metadata = output_metadata(instance, run_id)
    rows = table_of(metadata["batch"])
    assert [row["job"] for row in rows[:1]] == [failed]
    assert (len(rows), metadata["left_out_of_batch"].value) == (100, 3)
    [figures] = materializations(instance)
    assert (figures["jobs"], figures["jobs_done"]) == (103, 102)
    lines = [e.user_message for e in instance.all_logs(run_id) if "[mpack.index]" in e.user_message]
    assert len(lines) == 101
    assert sum(line.count("[mpack.index]") for line in lines) == 103


def test_lines_beyond_a_hundred_are_one_entry_as_loud_as_the_loudest() -> None:
    lines = [(logging.INFO, f"line {n}") for n in range(101)]

    assert bounded(lines[:100]) == lines[:100]
    assert bounded([*lines, (logging.ERROR, "bad"), (logging.INFO, "good")]) == [
        *lines[:100],
        (logging.ERROR, "line 100\nbad\ngood"),
    ]


def test_a_run_has_as_many_events_for_thirty_jobs_as_for_one(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    def events(jobs: int) -> list[str]:
        for n in range(jobs):
            hub.push(hub.create_repo(f"r{jobs}-{n}"), EMPTY)
        entries = instance.all_logs(run(hub, instance, phase_budgets_ms=TINY))
        return [e.dagster_event.event_type_value for e in entries if e.dagster_event]

    one, thirty = events(1), events(30)

    assert thirty == one
    assert one.count("ASSET_MATERIALIZATION") == one.count("ASSET_CHECK_EVALUATION") == 1


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
    assert table_of(metadata.pop("worst")) == [  # pyright: ignore[reportArgumentType]
        {
            "job": job_id,
            "repo": "repo-song",
            "key": key,
            "taken_ms": result[key],
            "budget_ms": 0.000001,
        }
        for key in ("elapsed_ms", "object_puts_ms")
    ]
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
def test_the_check_executed_by_hand_judges_the_latest_run(
    hub: Hub, instance: dg.DagsterInstance, budgets: str, passed: bool, over: set[str]
) -> None:
    hub.push(hub.create_repo(), MPACK)
    run(hub, instance)
    settings = hub.settings.model_copy(update={"phase_budgets_ms": budgets})
    job = build_defs(musehub=fixed_resource(settings)).resolve_implicit_global_asset_job_def()

    assert job.execute_in_process(instance=instance).success

    [evaluation] = evaluations(instance)
    assert (evaluation.passed, evaluation.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert set(evaluation.metadata["over_budget_ms"].value) == over  # pyright: ignore[reportArgumentType]


def test_the_check_executed_before_any_run_finds_nothing(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    settings = hub.settings.model_copy(update={"phase_budgets_ms": TINY})
    job = build_defs(musehub=fixed_resource(settings)).resolve_implicit_global_asset_job_def()

    assert job.execute_in_process(instance=instance).success

    [evaluation] = evaluations(instance)
    assert (evaluation.passed, evaluation.description) == (True, "There is no run to judge yet.")
