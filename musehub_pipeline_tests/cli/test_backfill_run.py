"""`backfill run`: day after day is indexed again, and what becomes of each job is told."""

import json
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline.domain.result import COUNTS, TIMINGS
from musehub_pipeline_tests.cli.ended_jobs import (
    OUTDATED,
    START,
    day,
    failed,
    indexed,
    killed,
    pushed,
    standing,
)
from musehub_pipeline_tests.cli.terminal import Git, call, run
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub

HISTORY = small_history()
LAST = list(HISTORY.commits)[-1]
NOT_MSGPACK = b"\xc1 is never msgpack"


@pytest.fixture(autouse=True)
def _start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BACKFILL_START", START.isoformat())


def lose(hub: Hub, job_id: str) -> None:
    """Take a job's mpack away."""
    hub.store.delete("mpacks/" + hub.job(job_id)["payload"]["mpack_key"].removeprefix("sha256:"))


def partitions(run_ids: list[str]) -> list[tuple[str, str, str]]:
    """Return of some runs: the job, the partition that the UI marks, and how the run ended."""
    with dg.DagsterInstance.get() as instance:
        runs = [instance.get_run_by_id(run_id) for run_id in run_ids]
        return [
            (r.tags["dagster/partition_set"], r.tags["dagster/partition"], r.status.value)
            for r in runs
            if r is not None
        ]


def test_each_day_with_work_is_a_run_of_its_partition(hub: Hub) -> None:
    song, tune = hub.create_repo("song"), hub.create_repo("tune")
    first, second = indexed(hub, song, 0), indexed(hub, tune, 0)
    current = indexed(hub, tune, 1, version=INDEX_VERSION)
    late = indexed(hub, song, 2)
    before, head = hub.counts(), hub.head(song)

    told = call("backfill", "run", "--strict", "--json").json

    results = [hub.job(job_id)["result"] for job_id in (first, second, late)]
    run_ids = told.pop("run_ids")
    assert [result["run_id"] for result in results] == [run_ids[0], run_ids[0], run_ids[1]]
    assert partitions(run_ids) == [
        ("backfill_mpacks_partition_set", day(0), "SUCCESS"),
        ("backfill_mpacks_partition_set", day(2), "SUCCESS"),
    ]
    times = {name: told.pop(name) for name in TIMINGS}
    for name, milliseconds in times.items():
        assert milliseconds == pytest.approx(sum(result[name] for result in results), abs=0.01)
    assert told == {
        "days": 2,
        "planned": 3,
        "given_up": 0,
        "indexed": 3,
        "failed": {},
        "kept": {},
        "mpack_bytes": sum(result["mpack_size_bytes"] for result in results),
        **{name: sum(result[name] for result in results) for name in COUNTS},
    }
    assert standing(hub, first, second, current, late) == [
        ("done", 2, INDEX_VERSION, None),
        ("done", 2, INDEX_VERSION, None),
        ("done", 1, INDEX_VERSION, None),
        ("done", 2, INDEX_VERSION, None),
    ]
    assert (hub.counts(), hub.head(song)) == (before, head)


def test_run_again_there_is_nothing_to_do_and_no_run(hub: Hub) -> None:
    job_id = indexed(hub, hub.create_repo(), 0)
    call("backfill", "run")
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs_count()

        finished = call("backfill", "run", "--strict")

        assert instance.get_runs_count() == runs
    assert (finished.code, finished.out) == (0, "")
    assert finished.err == "there is nothing to index again\n"
    told = call("backfill", "run", "--json").json
    assert (told["days"], told["planned"], told["run_ids"], told["indexed"]) == (0, 0, [], 0)
    assert standing(hub, job_id) == [("done", 2, INDEX_VERSION, None)]


def test_only_what_was_chosen_is_indexed(hub: Hub) -> None:
    song, tune = hub.create_repo("song"), hub.create_repo("tune")
    early, chosen, other, late = (
        indexed(hub, song, 0),
        indexed(hub, song, 1),
        indexed(hub, tune, 1),
        indexed(hub, song, 2),
    )

    told = call(
        "backfill", "run", "--from", day(1), "--to", day(1), "--repo", "ada/song", "--json"
    ).json

    assert (told["days"], told["planned"], told["indexed"]) == (1, 1, 1)
    assert standing(hub, early, chosen, other, late) == [
        ("done", 1, OUTDATED, None),
        ("done", 2, INDEX_VERSION, None),
        ("done", 1, OUTDATED, None),
        ("done", 1, OUTDATED, None),
    ]


def test_what_failed_is_tried_again_by_its_reason(hub: Hub) -> None:
    repo_id = hub.create_repo()
    mended = failed(hub, repo_id, 0, "LIMIT_EXCEEDED")
    other = failed(hub, repo_id, 0, "BAD_ID")
    bad = pushed(hub, failed(hub, repo_id, 0, "LIMIT_EXCEEDED"), 1)
    lost = hub.upload(NOT_MSGPACK)
    hub.sql(
        "UPDATE musehub_background_jobs SET payload = payload || %(p)s WHERE job_id = %(id)s",
        {"p": json.dumps({"mpack_key": lost}), "id": bad},
    )

    finished = call(
        *("backfill", "run", "--status", "failed", "--code", "LIMIT_EXCEEDED"),
        *("--strict", "--json"),
    )

    told = finished.json
    assert finished.code == 3
    assert (told["planned"], told["indexed"]) == (2, 1)
    assert (told["failed"], told["kept"]) == ({"MPACK_MALFORMED": 1}, {})
    assert standing(hub, mended, other, bad) == [
        ("done", 2, INDEX_VERSION, None),
        ("failed", 1, None, "BAD_ID"),
        ("failed", 2, None, "MPACK_MALFORMED"),
    ]
    assert f"❌ [mpack.index] failed job={bad} " in finished.err


def test_what_cannot_be_indexed_again_stays_as_it_was_and_is_told(hub: Hub) -> None:
    gone, good = indexed(hub, hub.create_repo("song"), 0), indexed(hub, hub.create_repo("tune"), 1)
    result = hub.job(gone)["result"]
    key = hub.upload(b"another")
    hub.sql(
        "UPDATE musehub_background_jobs SET payload = payload || %(p)s WHERE job_id = %(id)s",
        {"p": json.dumps({"mpack_key": key}), "id": gone},
    )
    lose(hub, gone)

    finished = call("backfill", "run")

    assert finished.code == 0
    assert standing(hub, gone, good) == [
        ("done", 1, OUTDATED, None),
        ("done", 2, INDEX_VERSION, None),
    ]
    assert hub.job(gone)["result"] == result
    lines = [line.strip("│").split("│") for line in finished.out.splitlines() if "│" in line]
    shown = {name.strip(): value.strip() for name, value in lines}
    told = ("days", "planned", "run_ids", "indexed", "failed", "kept")
    assert [shown[name] for name in told] == ["2", "2", "2", "1", "{}", '{"MPACK_MISSING": 1}']
    assert f"[mpack.index] kept as it was job={gone} " in finished.err
    assert f"done job={good}" not in finished.err
    assert "2/2" in finished.err
    assert call("backfill", "run", "--strict").code == 3


def test_what_killed_its_runs_stays_as_it_was_and_is_told(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = indexed(hub, hub.create_repo("song"), 0)
    good = indexed(hub, hub.create_repo("tune"), 1)
    killed(hub, deadly, kills=3)
    before = hub.job(deadly)

    finished = call("backfill", "run", "--strict", "--json")
    again = call("backfill", "run")

    told = finished.json
    assert finished.code == 3
    assert [told[name] for name in ("days", "planned", "given_up", "indexed")] == [1, 1, 1, 1]
    line = (
        "1 jobs are given up: over each, MUSEHUB_MAX_KILLS runs have died;"
        " raise it to try them again"
    )
    assert finished.err.splitlines()[-1] == line
    assert again.err.splitlines() == ["there is nothing to index again", line]
    assert (hub.job(deadly), hub.job(good)["index_version"]) == (before, INDEX_VERSION)
    monkeypatch.setenv("MUSEHUB_MAX_KILLS", "4")
    patient = call("backfill", "run", "--strict", "--json").json
    assert [patient[name] for name in ("planned", "given_up", "indexed")] == [1, 0, 1]
    assert standing(hub, deadly) == [("done", 5, INDEX_VERSION, None)]


def test_a_run_of_all_can_be_gone_on_with(hub: Hub) -> None:
    """What ended after the time that was printed is left out; without it all is taken again."""
    repo_id = hub.create_repo()
    first, second = indexed(hub, repo_id, 0), indexed(hub, repo_id, 1, version=INDEX_VERSION)

    begun = call("backfill", "run", "--status", "all", "--to", day(0))
    [_, ended_before] = begun.err.splitlines()[0].split("--ended-before ")
    went_on = call(
        *("backfill", "run", "--status", "all", "--ended-before", ended_before, "--json")
    ).json
    again = call("backfill", "run", "--status", "all", "--json").json

    assert datetime.fromisoformat(ended_before).tzinfo is not None
    assert (went_on["days"], went_on["indexed"]) == (1, 1)
    assert (again["days"], again["indexed"]) == (2, 2)
    assert standing(hub, first, second) == [("done", 3, INDEX_VERSION, None)] * 2


def test_it_works_on_the_embedded_services_too(git: Git) -> None:
    with TemporaryDirectory(prefix="home-") as folder:  # short, as sockets want it
        home = Path(folder) / "home"
        assert run("demo", "--git", git.path, home=home).code == 0

        told = run("backfill", "run", "--status", "all", "--strict", "--json", home=home).json

        standing = run("backfill", "status", "--json", home=home).json
    assert (told["days"], told["planned"], told["indexed"]) == (1, 1, 1)
    assert (told["objects_total"], told["objects_inserted"]) == (3, 0)
    counted = ("current", "outdated", "failed", "leased", "before")
    assert [standing[name] for name in counted] == [1, 0, {}, 0, 0]
