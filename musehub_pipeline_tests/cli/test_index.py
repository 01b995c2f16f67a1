"""`index`: what is due is drained, here and now, and how it went is told."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from musehub_pipeline_tests.cli.terminal import Git, call, run
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub

NOT_MSGPACK = b"\xc1 is never msgpack"


def push(hub: Hub, slug: str, *, jobs: int = 1, mpack: bytes | None = None) -> list[str]:
    repo_id = hub.create_repo(slug)
    return [hub.push(repo_id, mpack or History().mpack()) for _ in range(jobs)]


def statuses(hub: Hub) -> dict[str, tuple[str, int]]:
    rows = hub.sql("SELECT job_id, status, attempt FROM musehub_background_jobs")
    return {row["job_id"]: (row["status"], row["attempt"]) for row in rows}


def test_a_git_repository_is_packed_pushed_indexed_and_shown(
    any_hub: Hub, git: Git, tmp_path: Path
) -> None:
    mpack = tmp_path / "some.mpack"

    packed = call("pack", git.path, "-o", mpack, "--json").json
    [job_id] = call("push", mpack, "-r", "ada/song", "--create", "--json").json["job_ids"]
    [outcome] = call("index", "--strict", "--json").json
    shown = call("jobs", "show", job_id, "--json").json

    result = any_hub.job(job_id)["result"]
    repo_id = any_hub.job(job_id)["repo_id"]
    assert outcome == {
        "job_id": job_id,
        "repo_id": repo_id,
        "status": "done",
        "error_code": None,
        "error": None,
        "result": result,
    }
    assert (shown["status"], shown["attempt"], shown["result"]) == ("done", 1, result)
    counts = ("mpack_size_bytes", "objects_total", "objects_put", "object_bytes_put")
    assert [result[name] for name in counts] == [packed["size_bytes"], 3, 3, 3]
    assert any_hub.counts() == {
        "objects": 3,
        "object_refs": 3,
        "snapshots": 2,
        "commits": 2,
        "branches": 1,
    }
    assert any_hub.head(repo_id) == packed["branch_heads"]["main"] == result["head"]
    assert sorted(any_hub.stored_objects().values()) == [b"a", b"b", b"c"]


def test_the_next_push_is_thin(hub: Hub, git: Git, tmp_path: Path) -> None:
    mpack, before = tmp_path / "some.mpack", git("rev-parse", "HEAD")
    call("pack", git.path, "-o", mpack)
    call("push", mpack, "--repo", "ada/song", "--create")
    call("index", "--strict")
    git.commit("more", {"d": b"d", "a": b"a2"})

    packed = call("pack", git.path, "-o", mpack, "--have", before, "--json").json
    call("push", mpack, "--repo", "ada/song")
    [outcome] = call("index", "--strict", "--json").json

    inserted = ("objects_total", "objects_inserted", "snapshots_inserted", "commits_inserted")
    assert [outcome["result"][name] for name in inserted] == [2, 2, 1, 1]
    assert hub.counts()["commits"] == 3
    assert hub.head(outcome["repo_id"]) == packed["branch_heads"]["main"]


def test_each_branch_of_a_push_is_a_job_and_moves(hub: Hub, git: Git, tmp_path: Path) -> None:
    mpack = tmp_path / "some.mpack"
    git("switch", "--quiet", "--create", "side", "HEAD~1")
    git.commit("aside", {"s": b"s"})
    heads = call("pack", git.path, "-o", mpack, "--json").json["branch_heads"]

    pushed = call("push", mpack, "--repo", "ada/song", "--create", "--json").json
    outcomes = call("index", "--strict", "--json").json

    assert [outcome["job_id"] for outcome in outcomes] == pushed["job_ids"]
    assert [outcome["result"]["commits_inserted"] for outcome in outcomes] == [3, 0]
    assert [outcome["result"]["branch"] for outcome in outcomes] == ["side", "main"]
    repo_id = outcomes[0]["repo_id"]
    assert {branch: hub.head(repo_id, branch) for branch in ("main", "side")} == heads


def test_where_nothing_is_due_it_says_so(hub: Hub) -> None:
    [waits] = push(hub, "one")
    hub.sql("UPDATE musehub_background_jobs SET not_before = now() + interval '1 hour'")

    finished = call("index", "--strict")

    assert (finished.code, finished.out, finished.err) == (0, "", "nothing is due\n")
    assert call("index", "--json").json == []
    assert statuses(hub) == {waits: ("pending", 0)}


def test_strict_exits_with_3_for_a_failed_job(hub: Hub) -> None:
    [bad] = push(hub, "one", mpack=NOT_MSGPACK)
    [good] = push(hub, "two")

    finished = call("index", "--json", "--strict")

    assert finished.code == 3
    failed, done = finished.json
    assert failed == {
        "job_id": bad,
        "repo_id": "repo-one",
        "status": "failed",
        "error_code": "MPACK_MALFORMED",
        "error": hub.job(bad)["error"],
        "result": None,
    }
    assert (done["job_id"], done["status"]) == (good, "done")


def test_without_it_a_failed_job_is_only_told_in_its_summary_line(hub: Hub) -> None:
    [bad] = push(hub, "one", mpack=NOT_MSGPACK)
    [good] = push(hub, "two")

    finished = call("index")

    lines = [line for line in finished.err.splitlines() if "[mpack.index]" in line]
    assert (finished.code, finished.out) == (0, "")
    assert [line.split(" repo=")[0] for line in lines] == [
        f"✅ [mpack.index] done job={good}",
        f"❌ [mpack.index] failed job={bad}",
    ]


def test_named_jobs_are_indexed_in_backoff_or_not_and_no_others(hub: Hub) -> None:
    first, other, third = (push(hub, slug)[0] for slug in ("one", "two", "three"))
    hub.sql("UPDATE musehub_background_jobs SET not_before = now() + interval '1 hour'")

    outcomes = call("index", third, first, "--json").json

    assert [(outcome["job_id"], outcome["status"]) for outcome in outcomes] == [
        (first, "done"),
        (third, "done"),
    ]
    assert statuses(hub) == {first: ("done", 1), other: ("pending", 0), third: ("done", 1)}


def test_all_named_jobs_are_indexed_also_where_one_batch_is_too_small(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [push(hub, slug)[0] for slug in ("one", "two", "three")]
    monkeypatch.setenv("MUSEHUB_BATCH_BYTES", "1")

    finished = call("index", *named)

    assert finished.code == 0
    assert statuses(hub) == dict.fromkeys(named, ("done", 1))


def test_a_named_job_behind_another_waits_and_the_reason_is_told(hub: Hub) -> None:
    first, second = push(hub, "one", jobs=2)

    finished = call("index", second)

    assert statuses(hub) == {first: ("pending", 0), second: ("pending", 0)}
    assert first in finished.err


def test_a_job_that_does_not_exist_is_an_error_and_nothing_runs(hub: Hub) -> None:
    [job_id] = push(hub, "one")

    finished = call("index", job_id, "job-none", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err == "error: no mpack.index job has the id 'job-none'\n"
    assert statuses(hub) == {job_id: ("pending", 0)}


def test_a_job_in_backoff_is_not_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    [job_id] = push(hub, "one")
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", "file:///no/such/folder")
    for variable in ("MUSEHUB_RETRY_BASE_SECONDS", "MUSEHUB_RETRY_CAP_SECONDS"):
        monkeypatch.setenv(variable, "1e6")

    finished = call("index", "--strict", "--json")

    [outcome] = finished.json
    assert (finished.code, outcome["status"]) == (0, "pending")
    assert outcome["error_code"] == "STORAGE_UNAVAILABLE"
    assert f"🔁 [mpack.index] pending again job={job_id}" in finished.err
    assert statuses(hub) == {job_id: ("pending", 1)}
    assert call("index", "--json").json == []


def test_it_goes_on_until_no_batch_is_left(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = {"one": 3, "two": 2, "three": 2}
    job_ids = [job_id for slug, jobs in pushed.items() for job_id in push(hub, slug, jobs=jobs)]
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "2")

    outcomes = call("index", "--strict", "--json").json

    results = [outcome["result"] for outcome in outcomes]
    assert [(result["job_id"], result["attempt"]) for result in results] == [
        (job_id, 1) for job_id in job_ids
    ]
    runs: dict[str, list[Any]] = {}
    for result in results:
        runs.setdefault(result["run_id"], []).append(result["batch_jobs"])
    assert list(runs.values()) == [[2, 2], [2, 2], [2, 2], [1]]


def test_a_lease_that_expired_is_taken_over(hub: Hub) -> None:
    [job_id] = push(hub, "one")
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'running', run_id = 'dead', attempt = 1,"
        " lease_expires_at = now() - %(ago)s",
        {"ago": timedelta(seconds=1)},
    )

    assert call("index", "--json").json[0]["result"]["attempt"] == 2
    assert statuses(hub) == {job_id: ("done", 2)}


def test_through_a_pipe_there_is_nothing_but_json_on_stdout(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a Dagster home of one's own, which says nothing about our loggers."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    history = small_history()
    [job_id] = push(hub, "one", mpack=history.mpack())

    finished = run("index", "--json")

    assert [outcome["job_id"] for outcome in finished.json] == [job_id]
    assert f"✅ [mpack.index] done job={job_id} " in finished.err
    assert "dagster" not in finished.err
