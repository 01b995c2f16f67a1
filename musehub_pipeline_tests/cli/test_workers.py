"""`index --workers`: several processes drain one queue, and the command speaks for all of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from musehub_pipeline_tests.cli.conftest import Demo
from musehub_pipeline_tests.cli.terminal import (
    Git,
    call,
    finish,
    processes_of,
    run,
    start,
    wait_until,
)
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub

NOT_MSGPACK = b"\xc1 is never msgpack"


def push(hub: Hub, *slugs: str, mpack: bytes | None = None) -> list[str]:
    return [hub.push(hub.create_repo(slug), mpack or small_history().mpack()) for slug in slugs]


def states(hub: Hub) -> list[tuple[str, int, str | None]]:
    rows = hub.sql(
        "SELECT status, attempt, run_id FROM musehub_background_jobs ORDER BY created_at"
    )
    return [(row["status"], row["attempt"], row["run_id"]) for row in rows]


@contextmanager
def nothing_can_be_written(hub: Hub) -> Iterator[None]:
    """Hold up every run that has objects to write, for as long as the block runs."""
    with psycopg.connect(str(hub.settings.database_url)) as connection:
        connection.execute("LOCK TABLE musehub_objects")
        yield


def test_the_workers_divide_the_queue_and_all_of_it_is_told(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    [bad] = push(hub, "bad", mpack=NOT_MSGPACK)
    good = push(hub, *(f"song-{n}" for n in range(7)))
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "1")

    finished = run("index", "--workers", "2", "--strict", "--json")

    outcomes = finished.json
    assert finished.code == 3
    assert [(row["job_id"], row["status"]) for row in outcomes] == [
        (bad, "failed"),
        *((job_id, "done") for job_id in good),
    ]
    assert [row["result"] for row in outcomes[1:]] == [hub.job(job_id)["result"] for job_id in good]
    lines = [line for line in finished.err.splitlines() if "[mpack.index]" in line]
    assert sorted(line.split(" repo=")[0] for line in lines) == sorted(
        [f"❌ [mpack.index] failed job={bad}"]
        + [f"✅ [mpack.index] done job={job_id}" for job_id in good]
    )
    assert "8/8" in finished.err


def test_what_becomes_due_while_others_work_is_taken_too(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One repository is never in two runs: whoever finds nothing waits, and the order is kept."""
    repo_id = hub.create_repo()
    pushed = [hub.push(repo_id, History().mpack()) for _ in range(5)]
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "2")

    outcomes = run("index", "--workers", "2", "--json").json

    assert [(row["job_id"], row["status"]) for row in outcomes] == [
        (job_id, "done") for job_id in pushed
    ]
    rows = hub.sql("SELECT job_id FROM musehub_background_jobs ORDER BY finished_at")
    assert [row["job_id"] for row in rows] == pushed


def test_where_nothing_is_due_no_worker_starts(hub: Hub) -> None:
    finished = call("index", "--workers", "3", "--strict")

    assert (finished.code, finished.out, finished.err) == (0, "", "nothing is due\n")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_told_to_stop_all_workers_end_and_give_their_leases_back(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    push(hub, "song", "tune")
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "1")
    with nothing_can_be_written(hub):
        process = start("index", "--workers", "2")
        wait_until(process, lambda: [state for state, _, _ in states(hub)] == ["running"] * 2)

        process.send_signal(number)
        finished = finish(process)

        assert (finished.code, finished.out) == (code, "")
        assert "Traceback" not in finished.err
        assert finished.err.count("was stopped: 1 jobs are given back\n") == 2
        assert states(hub) == [("pending", 0, None)] * 2
        assert processes_of(hub.settings.home) == {}
    assert [row["status"] for row in call("index", "--json").json] == ["done"] * 2


def test_a_worker_that_is_killed_is_named_and_the_others_go_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = push(hub, "song", "tune", "hymn")
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "1")
    with nothing_can_be_written(hub):
        process = start("index", "--workers", "2", "--json")
        wait_until(process, lambda: [state for state, _, _ in states(hub)].count("running") == 2)
        workers = [
            pid
            for pid, line in processes_of(hub.settings.home).items()
            if "musehub_pipeline.cli.worker" in line
        ]
        os.kill(workers[0], signal.SIGKILL)
    finished = finish(process)

    assert finished.code == 1
    assert finished.err.endswith("error: 1 of 2 workers died: SIGKILL\n")
    left = [state for state, _, _ in states(hub)]
    assert sorted(left) == ["done", "done", "running"]
    [held] = [job_id for job_id, state in zip(jobs, left, strict=True) if state == "running"]
    assert held not in finished.out


@pytest.mark.slow
def test_workers_that_die_say_why(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    push(hub, "song")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSEHUB_SCRATCH_DIR", str(tmp_path / "file" / "scratch"))

    finished = call("index", "--workers", "2", "--json")

    assert finished.code == 1
    last = finished.err.splitlines()[-1]
    assert last.startswith("error: 2 of 2 workers died: exit code 1 (error: SCRATCH_UNAVAILABLE: ")
    assert [row["status"] for row in hub.sql("SELECT status FROM musehub_background_jobs")] == [
        "pending"
    ]


def test_the_workers_share_the_embedded_services_of_their_parent(
    demo: Demo, git: Git, tmp_path: Path
) -> None:
    mpack = tmp_path / "some.mpack"
    git.commit("again", {"again": os.urandom(8)})
    assert run("pack", git.path, "-o", mpack, home=demo.home).code == 0
    for slug in ("one", "two"):
        run("push", mpack, "--repo", f"ada/{slug}", "--create", home=demo.home)

    finished = run("index", "--workers", "2", "--strict", "--json", home=demo.home)

    assert [row["status"] for row in finished.json] == ["done", "done"]
    assert processes_of(demo.home) == {}
