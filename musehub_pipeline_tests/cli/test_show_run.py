"""The run of a job, as `jobs show` names it: its job, its host, and its page in the UI."""

import dagster as dg
import pytest

from musehub_pipeline.orchestration.index_mpacks import index_mpacks_job
from musehub_pipeline.orchestration.instance import PROCESS_TAG, use_dagster_home
from musehub_pipeline.orchestration.resources import MusehubResource
from musehub_pipeline_tests.cli.terminal import call, on_terminal, run
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

RUN = "5a0d3c7e-0f0e-4f5e-9f0b-1c1d2e3f4a5b"
UI = "http://127.0.0.1:3000"


def push(hub: Hub, run_id: str | None = RUN) -> str:
    """Push a job that a run has done."""
    job_id = hub.push(hub.create_repo(), History().mpack())
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'done', attempt = 1, run_id = %(r)s,"
        " started_at = now(), finished_at = now()",
        {"r": run_id},
    )
    return job_id


def shown(job_id: str) -> dict[str, str]:
    """Return what is shown of the run."""
    finished = call("jobs", "show", job_id)
    assert (finished.code, finished.err) == (0, "")
    _, _, after = finished.out.partition("\nlatest run")
    lines = after.partition("\n└")[0].splitlines()[2:]
    return {name.strip(): value.strip() for _, name, value, _ in (x.split("│") for x in lines)}


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["worker-3 17 1772359200", "", None])
def test_the_run_is_shown_with_its_job_its_host_and_its_page(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tag: str | None
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    use_dagster_home(hub.settings)
    tags = {} if tag is None else {PROCESS_TAG: tag}
    with dg.DagsterInstance.get() as instance:
        job = index_mpacks_job(MusehubResource())
        run_id = instance.create_run_for_job(job, tags=tags).run_id

    seen = shown(push(hub, run_id))

    host = "worker-3" if tag else "-"
    assert seen == {"job": "index_mpacks", "host": host, "page": f"{UI}/runs/{run_id}"}


@pytest.mark.parametrize(
    "url",
    [
        "",  # there is no database beside the hub's
        "postgresql://nobody@127.0.0.1:1/dagster",  # nothing listens
        "the hub's",  # which has no tables of Dagster
    ],
)
def test_without_dagsters_records_the_page_is_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    ours = str(hub.settings.database_url)
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", ours if url == "the hub's" else url)

    assert shown(push(hub)) == {"job": "-", "host": "-", "page": f"{UI}/runs/{RUN}"}


def test_a_run_that_tried_it_last_is_shown_of_a_job_that_waits(hub: Hub) -> None:
    job_id = push(hub, None)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'pending', finished_at = NULL,"
        " attempts = jsonb_build_array(jsonb_build_object('attempt', 1, 'run_id', 'run-1'),"
        " jsonb_build_object('attempt', 2, 'run_id', 'run-2'),"
        " jsonb_build_object('attempt', 2, 'run_id', NULL, 'code', 'CANCELLED'))"
    )

    assert shown(job_id)["page"] == f"{UI}/runs/run-2"


def test_the_link_leads_to_where_the_ui_is_said_to_be(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_UI_URL", "https://ui.example.org/dagster/")

    assert shown(push(hub, "a run/../x"))["page"] == (
        "https://ui.example.org/dagster/runs/a%20run%2F..%2Fx"
    )


def test_a_job_that_no_run_had_has_no_link(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), History().mpack())

    assert "/runs/" not in call("jobs", "show", job_id).out


def test_a_link_is_whole_on_a_terminal_of_100_columns(hub: Hub) -> None:
    assert f" {UI}/runs/{RUN} " in on_terminal("jobs", "show", push(hub), columns=100)


def test_dagster_is_not_loaded_for_that(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = push(hub)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")

    finished = run("jobs", "show", job_id)

    loaded = {line.rsplit("|", 1)[-1].strip() for line in finished.err.splitlines()}
    assert finished.code == 0
    assert "musehub_pipeline.orchestration.run_record" in loaded
    assert "dagster" not in loaded
