"""A day of old pushes, and the job that indexes them again, as a test runs it."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

DAY = "2025-03-03"


def old_pushes(hub: Hub, slugs: str, *, day: str = DAY) -> list[str]:
    """Push a commit to a repo for each letter, have an older version index it; return the jobs."""
    jobs: list[str] = []
    for slug in slugs:
        history = History()
        head = history.commit({"file": slug.encode() * 10}, message=slug)
        jobs.append(hub.push(hub.create_repo(slug), history.mpack(), head=head))
    index_all(hub)
    date_back(hub, jobs, day=day)
    return jobs


def failed_pushes(hub: Hub, repo_id: str, *, day: str = DAY) -> dict[str, str]:
    """Push what cannot be indexed and have it fail; return the jobs by their codes."""
    jobs = push_bad(hub, repo_id)
    index_all(hub)
    date_failures_back(hub, jobs, day=day)
    return jobs


def push_bad(hub: Hub, repo_id: str) -> dict[str, str]:
    """Push what cannot be indexed; return the jobs by the codes that they will fail with."""
    return {
        "MPACK_MALFORMED": hub.push(repo_id, b"\xc1"),
        "MPACK_MISSING": hub.enqueue(repo_id, mpack_key="0" * 64),
    }


def date_failures_back(hub: Hub, jobs: Mapping[str, str], *, day: str = DAY) -> None:
    """Have jobs, which must have failed with their codes, been pushed on a day."""
    assert {code: hub.job(job_id)["error_code"] for code, job_id in jobs.items()} == {
        code: code for code in jobs
    }
    date_back(hub, list(jobs.values()), day=day)


def date_back(hub: Hub, jobs: list[str], *, day: str = DAY) -> None:
    """Have jobs been pushed on a day, second by second, and ended with an older version."""
    for second, job_id in enumerate(jobs):
        hub.sql(
            "UPDATE musehub_background_jobs SET index_version = index_version - 1,"
            " created_at = %(d)s::timestamptz + %(s)s * interval '1 s' WHERE job_id = %(j)s",
            {"d": f"{day} 12:00+00", "s": second, "j": job_id},
        )


def environment(hub: Hub, **more: str) -> dict[str, str]:
    """Return the variables that lead a run to the services of a hub."""
    return {
        "MUSEHUB_HOME": str(hub.settings.home),
        "MUSEHUB_DATABASE_URL": str(hub.settings.database_url),
        "MUSEHUB_STORAGE_URL": str(hub.settings.storage_url),
        **more,
    }


def backfill(
    hub: Hub,
    instance: dg.DagsterInstance,
    *,
    day: str = DAY,
    config: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    **changes: Any,
) -> dg.ExecuteInProcessResult:
    """Run a day's partition, with some settings changed, whatever becomes of it."""
    settings = hub.settings.model_copy(update=changes)
    job = build_defs(musehub=fixed_resource(settings)).get_job_def(BACKFILL_JOB)
    return job.execute_in_process(
        partition_key=day,
        instance=instance,
        run_config={"ops": {"plan_backfill": {"config": config or {}}}},
        tags=tags,
        raise_on_error=False,
    )


def report(run: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return what the run reports, without times."""
    assert run.success
    output = run.output_for_node("report_backfill")
    return {name: value for name, value in output.items() if not name.endswith("_ms")}


def fared(run: dg.ExecuteInProcessResult) -> tuple[int, int, dict[str, int], dict[str, int]]:
    """Return of the report: planned, indexed, failed and kept."""
    found = report(run)
    return found["planned"], found["indexed"], found["failed"], found["kept"]


def jobs_by_tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """Return what a run says by its tags of how many jobs it had."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    names = ("musehub/planned", "musehub/indexed")
    return {name: run.tags[name] for name in names if name in run.tags}


def attempts(hub: Hub, jobs: list[str]) -> list[int]:
    """Return the attempts of jobs, all of which are done by the current version."""
    rows = [hub.job(job_id) for job_id in jobs]
    assert [(row["status"], row["index_version"]) for row in rows] == [("done", 1)] * len(rows)
    return [row["attempt"] for row in rows]
