"""Tags of a run say what it takes, for the dialog of backfills has room for nothing else."""

from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import (
    backfill,
    failed_pushes,
    fared,
    old_pushes,
)

TAGS = {
    "musehub/select": "select",
    "musehub/codes": "codes",
    "musehub/repo": "repo_id",
    "musehub/ended_before": "ended_before",
    "musehub/dry_run": "dry_run",
}


def pushes(hub: Hub) -> dict[str, str]:
    return dict(zip("ab", old_pushes(hub, "ab"), strict=True)) | failed_pushes(hub, "repo-a")


def taken(hub: Hub, jobs: dict[str, str]) -> set[str]:
    return {name for name, job_id in jobs.items() if hub.job(job_id)["attempt"] == 2}


@pytest.mark.parametrize(
    ("tags", "config", "expected"),
    [
        ({"musehub/repo": "ada/b"}, {}, {"b"}),
        ({"musehub/repo": "repo-b"}, {}, {"b"}),
        ({"musehub/select": "all"}, {}, {"a", "b", "MPACK_MALFORMED", "MPACK_MISSING"}),
        ({"musehub/select": "failed"}, {}, {"MPACK_MALFORMED", "MPACK_MISSING"}),
        (
            {
                "musehub/select": "failed",
                "musehub/codes": "MPACK_MISSING,BAD_ID",
                "musehub/repo": "ada/a",
            },
            {},
            {"MPACK_MISSING"},
        ),
        ({"musehub/select": "failed", "musehub/repo": "ada/b"}, {}, set()),
        ({"musehub/select": "all", "musehub/ended_before": "2025-03-03T12:00:00+00:00"}, {}, set()),
        (
            {"musehub/select": "failed", "musehub/ended_before": "2999-01-01T00:00:00Z"},
            {},
            {"MPACK_MALFORMED", "MPACK_MISSING"},
        ),
        (
            {"musehub/ended_before": "nonsense"},
            {"select": "FAILED", "ended_before": "2999-01-01T00:00:00Z"},
            {"MPACK_MALFORMED", "MPACK_MISSING"},
        ),
        ({"musehub/select": "failed"}, {"select": "OUTDATED"}, {"a", "b"}),
        ({"musehub/repo": "ada/b"}, {"select": "ALL", "repo_id": "repo-b"}, {"b"}),
    ],
)
def test_the_tags_say_what_is_taken_where_the_config_does_not(
    hub: Hub,
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    config: dict[str, Any],
    expected: set[str],
) -> None:
    jobs = pushes(hub)

    planned, *_ = fared(backfill(hub, instance, tags=tags, config=config))

    assert (planned, taken(hub, jobs)) == (len(expected), expected)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"musehub/select": "some"}, "musehub/select: 'some' is none of outdated, failed, all"),
        (
            {"musehub/codes": "BAD_ID"},
            "musehub/codes: BAD_ID goes with failed, not with outdated",
        ),
        ({"musehub/repo": "ada/c"}, "musehub/repo: no repository is called 'ada/c'"),
        ({"musehub/repo": "repo-c"}, "musehub/repo: no repository has the id 'repo-c'"),
        (
            {"musehub/ended_before": "yesterday"},
            "musehub/ended_before: 'yesterday' is not ISO 8601 with an offset",
        ),
        ({"musehub/dry_run": "yes"}, "musehub/dry_run: 'yes' is neither true nor false"),
        ({"musehub/repo": "ada/gone"}, "musehub/repo: no repository is called 'ada/gone'"),
    ],
)
def test_a_tag_that_makes_no_sense_fails_the_run_before_it_takes_anything(
    hub: Hub, instance: dg.DagsterInstance, tags: dict[str, str], message: str
) -> None:
    jobs = pushes(hub)
    hub.create_repo("gone")
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'gone'")

    run = backfill(hub, instance, tags=tags)

    assert not run.success
    [failure] = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == message
    assert [event.step_key for event in run.all_events if event.is_step_start] == ["plan_backfill"]
    assert taken(hub, jobs) == set()


def test_the_ui_tells_the_tags() -> None:
    job = build_defs().get_job_def(BACKFILL_JOB)
    [schema] = [node.definition.config_schema for node in job.nodes if node.name == "plan_backfill"]
    fields = schema.config_type.fields

    assert [tag for tag in TAGS if f"\n- `{tag}`: " not in (job.description or "")] == []
    for tag, name in TAGS.items():
        assert f"the tag `{tag}`" in fields[name].description
        assert not fields[name].is_required
