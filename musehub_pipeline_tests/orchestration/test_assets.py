"""What the UI shows of a run: its figures, one table of its jobs, and a check."""

import logging

import dagster as dg
import pytest

from musehub_pipeline.domain.budgets import BUDGET_KEYS
from musehub_pipeline.domain.result import COUNTS, TIMINGS
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
    assert figures.pop("1 wait_seconds_max") == pytest.approx(3600, abs=60)
    rate = figures.pop("5 mb_per_second")
    assert 0 < rate <= 3 * len(MPACK) / 1e3 / times["elapsed_ms"][-1] + 0.001
    rows = {row["figure"]: row for row in table_of(figures.pop("figures"))}
    assert figures == {
        "2 elapsed_ms_p50": times["elapsed_ms"][1],
        "3 elapsed_ms_p95": times["elapsed_ms"][2],
        "4 jobs_failed": 2,
        **{f"{key}_p50": times[key][1] for key in TIMINGS},
    }
    jobs = {name: row["total"] for name, row in rows.items() if name.startswith("jobs")}
    assert jobs == {
        "jobs": 6,
        "jobs_done": 3,
        "jobs_failed": 2,
        "jobs_put_back": 1,
        "jobs_lost": 0,
    }
    assert {key: rows[key]["max"] for key in times} == {key: times[key][2] for key in times}
    assert {name: rows[name]["total"] for name in ("mpack_size_bytes", *COUNTS)} == {
        name: sum(result[name] for result in results) for name in ("mpack_size_bytes", *COUNTS)
    }
    assert (rows["objects_total"]["total"], rows["objects_put"]["total"]) == (3 * 14, 14)


def test_every_figure_but_the_table_is_a_number_that_the_ui_plots(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo(), MPACK)

    run(hub, instance)

    event = instance.get_latest_materialization_event(MPACK_INDEX.key)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = dict(event.asset_materialization.metadata)
    assert isinstance(metadata.pop("figures"), dg.TableMetadataValue)
    assert {type(value) for value in metadata.values()} == {
        dg.IntMetadataValue,
        dg.FloatMetadataValue,
    }


def test_the_last_figures_are_of_the_last_run_that_ended_a_job(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo(), MPACK)
    worked = run(hub, instance)
    hub.enqueue("repo-song", **MISSING)

    run(hub, instance, read_again_seconds=3600)

    event = instance.get_latest_materialization_event(MPACK_INDEX.key)
    assert event is not None
    assert (event.run_id, len(materializations(instance))) == (worked, 1)
    assert hub.sql("SELECT error_code FROM musehub_background_jobs WHERE status = 'pending'") == [
        {"error_code": "MPACK_MISSING"}
    ]


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
    assert figures.pop("1 wait_seconds_max") >= 0
    rows = table_of(figures.pop("figures"))
    assert figures == {"4 jobs_failed": 1}
    assert {row["figure"]: row["total"] for row in rows} == {
        "jobs": 1,
        "jobs_done": 0,
        "jobs_failed": 1,
        "jobs_put_back": 0,
        "jobs_lost": 0,
        "wait_seconds": None,
    }
    assert evaluations(instance) == []


def test_the_table_of_a_run_has_a_row_for_each_job_what_went_wrong_first(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    done = [hub.push(hub.create_repo(slug), MPACK) for slug in "ab"]
    failed = hub.enqueue(hub.create_repo("bad"), **MISSING)
    put_off = hub.push("repo-bad", MPACK)

    run_id = run(hub, instance)

    metadata = output_metadata(instance, run_id)
    rows, phases = table_of(metadata["batch"]), table_of(metadata["phases"])
    assert rows[:2] == [
        {
            "job": failed[7:19],
            "repo": "ada/bad",
            "outcome": "failed MPACK_MISSING",
            "reason": hub.job(failed)["error"],
            "mpack_bytes": None,
            "elapsed_ms": None,
        },
        {
            "job": put_off[7:19],
            "repo": "ada/bad",
            "outcome": "pending again EARLIER_JOB_UNFINISHED",
            "reason": f"job {failed} of the same repository goes first",
            "mpack_bytes": len(MPACK),
            "elapsed_ms": None,
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
            "elapsed_ms": result["elapsed_ms"],
        }
        for result in results
    ]
    fetched = [row.pop("fetch_mpack_ms") for row in phases[:2]]
    assert all(isinstance(ms, float) for ms in fetched)
    later = {key: None for key in TIMINGS if key != "fetch_mpack_ms"}
    assert phases[:2] == [{"job": job[7:19], **later} for job in (failed, put_off)]
    assert phases[2:] == [
        {"job": result["job_id"][7:19], **{key: result[key] for key in TIMINGS}}
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
    totals = {row["figure"]: row["total"] for row in table_of(figures["figures"])}
    assert (totals["jobs"], totals["jobs_done"]) == (103, 102)


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
