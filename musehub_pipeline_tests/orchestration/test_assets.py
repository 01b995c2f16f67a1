"""What the UI shows of a run: its figures, one table of its jobs, and a check."""

import logging

import dagster as dg
import pytest

from musehub_pipeline.domain.budgets import BUDGET_KEYS
from musehub_pipeline.domain.result import COUNTS
from musehub_pipeline.orchestration.assets import MPACK_INDEX
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.observed import (
    evaluations,
    materializations,
    output_metadata,
    run,
    table_of,
)

HISTORY = small_history()
MPACK = HISTORY.mpack()
LAST = list(HISTORY.commits)[-1]
NOT_MSGPACK = b"\xc1"
EMPTY = History().mpack()
TINY = "object_puts_ms=0.000001,elapsed_ms=0.000001"
LOGGER = "musehub_pipeline.index"

MISSING = {"mpack_key": "sha256:" + "0" * 64, "pusher_id": "ada", "branch": "main"}


def test_a_run_adds_one_materialization_with_the_figures_of_its_batch(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    done = [hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in "abc"]
    hub.enqueue(hub.create_repo("bad"), **MISSING)
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
    failed = hub.enqueue(hub.create_repo("bad"), **MISSING)
    put_off = hub.push("repo-bad", MPACK)

    run_id = run(hub, instance)

    rows = table_of(output_metadata(instance, run_id)["batch"])
    fetched = {row["job"]: row.pop("fetch_mpack_ms") for row in rows[:2]}
    assert all(isinstance(ms, float) for ms in fetched.values())
    later = {key: None for key in BUDGET_KEYS if key != "fetch_mpack_ms"}
    assert rows[:2] == [
        {
            "job": failed[7:19],
            "repo": "ada/bad",
            "outcome": "failed MPACK_MISSING",
            "reason": hub.job(failed)["error"],
            "mpack_bytes": None,
            **later,
        },
        {
            "job": put_off[7:19],
            "repo": "ada/bad",
            "outcome": "pending again EARLIER_JOB_UNFINISHED",
            "reason": f"job {failed} of the same repository goes first",
            "mpack_bytes": len(MPACK),
            **later,
        },
    ]
    results = sorted(
        (hub.job(job_id)["result"] for job_id in done), key=lambda result: -result["elapsed_ms"]
    )
    assert rows[2:] == [
        {
            "job": result["job_id"][7:19],
            "repo": result["repo_id"].replace("repo-", "ada/"),
            "outcome": "done",
            "reason": "",
            "mpack_bytes": len(MPACK),
            **{key: result[key] for key in BUDGET_KEYS},
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
    assert row["repo"].startswith(r"ada/a\x1b[31m\n\u202e<b><b>")
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
    assert [row["job"] for row in rows[:1]] == [failed[7:19]]
    assert (len(rows), metadata["left_out_of_batch"].value) == (100, 3)
    [figures] = materializations(instance)
    assert (figures["jobs"], figures["jobs_done"]) == (103, 102)


def test_the_summary_lines_of_a_level_are_one_entry_of_the_log(
    hub: Hub, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    for slug in "abc":
        hub.push(hub.create_repo(slug), EMPTY)
    for slug in "de":
        hub.push(hub.create_repo(slug), NOT_MSGPACK)

    with caplog.at_level(logging.INFO, LOGGER):
        run_id = run(hub, instance)

    entries = [
        (entry.level, entry.user_message.splitlines())
        for entry in instance.all_logs(run_id)
        if "[mpack.index]" in entry.user_message
    ]
    lines = [(level, line) for name, level, line in caplog.record_tuples if name == LOGGER]
    assert [(level, len(texts)) for level, texts in entries] == [
        (logging.INFO, 3),
        (logging.ERROR, 2),
    ]
    assert [(level, line) for level, texts in entries for line in texts] == lines


def test_a_run_has_as_many_events_for_thirty_jobs_as_for_one(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    def entries(jobs: int) -> list[str]:
        for n in range(jobs):
            hub.push(hub.create_repo(f"r{jobs}-{n}"), EMPTY)
        logs = instance.all_logs(run(hub, instance, phase_budgets_ms=TINY))
        return [str(e.dagster_event and e.dagster_event.event_type_value) for e in logs]

    one, thirty = entries(1), entries(30)

    assert thirty == one
    assert one.count("ASSET_MATERIALIZATION") == 6
    assert one.count("ASSET_CHECK_EVALUATION") == 4
