"""The job `backfill_mpacks`: a day is planned in batches, and each is indexed before the next."""

from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB, backfill_mpacks, days_from
from musehub_pipeline.orchestration.resources import HandOver, fixed_resource, hand_over
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.settings import first_day
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import (
    DAY,
    attempts,
    backfill,
    failed_pushes,
    fared,
    jobs_by_tags,
    old_pushes,
    report,
)

PHASES = [
    *("fetch_mpack", "unpack", "put_objects", "insert_objects", "upsert_object_refs"),
    *("insert_snapshots", "insert_commits"),
]


def metadata_of(run: dg.ExecuteInProcessResult, step_key: str) -> list[dict[str, Any]]:
    return [
        {name: entry.value for name, entry in event.step_output_data.metadata.items()}
        for event in run.all_events
        if event.is_successful_output and event.step_key == step_key
    ]


def test_each_batch_is_ended_before_the_next_one_is_begun(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    jobs = old_pushes(hub, "abcde")

    run = backfill(hub, instance, batch_jobs=2)

    assert [event.step_key for event in run.all_events if event.is_step_start] == [
        "plan_backfill",
        *(
            f"index_again.{op}[{number:06}]"
            for number in (1, 2, 3)
            for op in ("claim_past", *PHASES, "conclude_batch")
        ),
        "report_backfill",
    ]
    assert attempts(hub, jobs) == [2] * 5
    assert [hub.job(job_id)["result"]["batch_jobs"] for job_id in jobs] == [2, 2, 2, 2, 1]


def test_a_list_of_runs_says_how_many_jobs_each_of_them_had(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    *_, gone = old_pushes(hub, "abc")
    hub.store.delete(f"mpacks/{hub.job(gone)['payload']['mpack_key'][-64:]}")

    runs = [backfill(hub, instance) for _ in range(2)]
    none = backfill(hub, instance, day="2025-03-04")

    assert [jobs_by_tags(instance, run.run_id) for run in (*runs, none)] == [
        {"musehub/planned": "3", "musehub/indexed": "2"},
        {"musehub/planned": "1", "musehub/indexed": "0"},
        {"musehub/planned": "0", "musehub/indexed": "0"},
    ]


def test_the_report_says_what_came_of_all_batches(hub: Hub, instance: dg.DagsterInstance) -> None:
    *_, gone = old_pushes(hub, "abc")
    key = hub.job(gone)["payload"]["mpack_key"][-64:]
    hub.store.delete(f"mpacks/{key}")
    hub.sql("DELETE FROM musehub_commits WHERE repo_id = 'repo-a'")
    old_pushes(hub, "d")
    hub.sql("UPDATE musehub_background_jobs SET index_version = 1 WHERE repo_id = 'repo-d'")
    failed_pushes(hub, hub.create_repo("e"))
    rows = hub.sql(
        "SELECT repo_id, (result ->> 'mpack_size_bytes')::int AS size FROM musehub_background_jobs"
        " WHERE status = 'done'"
    )
    sizes = {row["repo_id"]: row["size"] for row in rows}

    run = backfill(hub, instance, config={"select": "ALL"}, batch_jobs=2)

    planned = {
        "dry_run": False,
        "planned": 6,
        "planned_bytes": sum(sizes.values()) + 1,  # of the failed, one is a byte and one is lost
        "current": 1,
        "given_up": 0,
    }
    expected = planned | {
        "left": 0,
        "indexed": 3,
        "failed": {"MPACK_MALFORMED": 1, "MPACK_MISSING": 1},
        "kept": {"MPACK_MISSING": 1},
        "mpack_bytes": sum(sizes.values()) - sizes["repo-c"],
        "objects_total": 3,
        "objects_put": 0,
        "object_bytes_put": 0,
        "objects_inserted": 0,
        "object_refs_inserted": 0,
        "snapshots_inserted": 0,
        "commits_inserted": 1,
    }
    told = report(run)
    assert (estimated := told.pop("estimated_seconds")) >= 0
    assert told == expected
    times = {name: run.output_for_node("report_backfill")[name] for name in TIMINGS}
    assert min(times.values()) > 0
    assert metadata_of(run, "report_backfill") == [
        expected | times | {"batches": 3, "estimated_seconds": estimated}
    ]
    assert metadata_of(run, "plan_backfill")[0] == planned | {"estimated_seconds": estimated}


def test_a_day_that_is_finished_plans_nothing_and_says_so(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    jobs = old_pushes(hub, "abc")
    assert fared(backfill(hub, instance)) == (3, 3, {}, {})
    before = [hub.job(job_id) for job_id in jobs]

    run = backfill(hub, instance)

    assert fared(run) == (0, 0, {}, {})
    assert report(run)["current"] == 3
    assert [event.step_key for event in run.all_events if event.is_step_start] == [
        "plan_backfill",
        "report_backfill",
    ]
    said = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert "There is nothing to index again: 3 jobs are current." in said
    assert [hub.job(job_id) for job_id in jobs] == before


def test_a_partition_is_a_day_of_the_push_in_utc(hub: Hub, instance: dg.DagsterInstance) -> None:
    days = ("2025-03-02 23:59:59.999+00", f"{DAY} 00:00+00", f"{DAY} 23:59+00", "2025-03-04 00:00Z")
    jobs = old_pushes(hub, "abcd")
    for job_id, day in zip(jobs, days, strict=True):
        hub.sql(
            "UPDATE musehub_background_jobs SET created_at = %(d)s WHERE job_id = %(j)s",
            {"d": day, "j": job_id},
        )

    assert fared(backfill(hub, instance)) == (2, 2, {}, {})

    assert [hub.job(job_id)["attempt"] for job_id in jobs] == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("config", "taken"),
    [
        ({}, {"a", "b"}),
        ({"repo_id": "repo-b"}, {"b"}),
        ({"select": "FAILED"}, {"MPACK_MALFORMED", "MPACK_MISSING"}),
        ({"select": "FAILED", "codes": ["MPACK_MISSING"]}, {"MPACK_MISSING"}),
        ({"select": "FAILED", "codes": ["mpack_missing"]}, {"MPACK_MISSING"}),
        ({"select": "FAILED", "repo_id": "repo-b"}, set()),
        ({"select": "ALL"}, {"a", "b", "MPACK_MALFORMED", "MPACK_MISSING"}),
        ({"select": "ALL", "ended_before": "2025-03-03T13:00:00+01:00"}, {"a"}),
    ],
)
def test_the_config_says_what_is_taken(
    hub: Hub, instance: dg.DagsterInstance, config: dict[str, Any], taken: set[str]
) -> None:
    jobs = dict(zip("ab", old_pushes(hub, "ab"), strict=True)) | failed_pushes(hub, "repo-a")
    hub.sql(
        "UPDATE musehub_background_jobs SET finished_at = '2025-03-03 11:59:59+00'"
        " WHERE job_id = %(j)s",
        {"j": jobs["a"]},
    )

    assert fared(backfill(hub, instance, config=config))[0] == len(taken)

    after = {name: hub.job(job_id)["attempt"] for name, job_id in jobs.items()}
    assert after == {name: 2 if name in taken else 1 for name in jobs}


@pytest.mark.parametrize(
    "config",
    [
        {"select": "some"},
        {"codes": "BAD_ID"},
        {"select": "ALL", "codes": ["BAD_ID"]},
        {"select": "FAILED", "codes": ["BAD"]},
        {"ended_before": "yesterday"},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    hub: Hub, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    jobs = [*old_pushes(hub, "a"), *failed_pushes(hub, "repo-a").values()]

    try:
        refused = not backfill(hub, instance, config=config).success
    except dg.DagsterInvalidConfigError:
        refused = True

    assert refused
    assert [hub.job(job_id)["attempt"] for job_id in jobs] == [1] * 3


def test_live_pushes_that_wait_make_it_rest_and_are_left_to_their_own_runs(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    old = old_pushes(hub, "ab")
    live = [hub.push("repo-a", History().mpack()) for _ in range(3)]

    run = backfill(hub, instance, batch_jobs=1)

    pauses = [
        metadata_of(run, f"index_again.claim_past[{number:06}]")[0]["pause_seconds"]
        for number in (1, 2)
    ]
    assert pauses == pytest.approx([0.3, 0.3])
    assert attempts(hub, old) == [2, 2]
    assert [hub.job(job_id)["status"] for job_id in live] == ["pending"] * 3


def test_memory_and_scratch_hold_one_batch_at_a_time(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    """And in the end nothing but the report."""
    old_pushes(hub, "abcdef")
    for job in hub.sql("SELECT payload ->> 'mpack_key' AS mpack FROM musehub_background_jobs"):
        hub.date_mpack(job["mpack"], settled=False)  # it is copied to scratch
    scratch = hub.settings.scratch_root
    seen: list[tuple[str, int, int]] = []

    class Watched(HandOver):
        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            super().handle_output(context, obj)
            held = [value for value in self._outputs.values() if isinstance(value, Batch)]
            mpacks = len(list(scratch.rglob("*.mpack")))
            seen.append((context.op_def.name, len(held), mpacks))

    watched = Watched()
    settings = hub.settings.model_copy(update={"batch_jobs": 2})
    job = backfill_mpacks.to_job(
        partitions_def=days_from(first_day()),
        resource_defs={"musehub": fixed_resource(settings), "io_manager": watched},
        executor_def=dg.in_process_executor,
    )
    run = job.execute_in_process(partition_key=DAY, instance=instance)

    assert seen == [
        *[("plan_backfill", 0, 0)] * 4,
        *[
            ("claim_past", 1, 0),
            *((phase, 1, 2) for phase in PHASES),
            ("conclude_batch", 0, 0),
        ]
        * 3,
        ("report_backfill", 0, 0),
    ]
    assert list(watched._outputs.values()) == [run.output_for_node("report_backfill")]


def test_what_was_taken_once_is_not_there_any_more() -> None:
    given = HandOver()
    context = dg.build_output_context(step_key="one", name="result", run_id="run")
    given.handle_output(context, "something")

    taken = dg.build_input_context(upstream_output=context)
    assert given.load_input(taken) == "something"
    with pytest.raises(
        dg.DagsterInvariantViolationError,
        match=r"^one\.result is not in memory: execute all steps again, not only some$",
    ):
        given.load_input(taken)


def test_the_job_runs_in_one_process_in_a_lane_of_its_own_and_is_repeated_as_a_whole() -> None:
    job = build_defs().get_job_def(BACKFILL_JOB)

    assert job.executor_def is dg.in_process_executor
    assert job.resource_defs["io_manager"] is hand_over
    assert job.tags == {
        "musehub/lane": "backfill",
        "dagster/priority": "-10",
        "dagster/retry_strategy": "ALL_STEPS",
    }
    assert isinstance(job.partitions_def, dg.DailyPartitionsDefinition)
    assert job.partitions_def.timezone == "UTC"
