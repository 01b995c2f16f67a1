"""`demo`: the whole way in one command, and an embedded database that comes and goes with it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from musehub_pipeline.domain.result import KEYS
from musehub_pipeline_tests.cli.conftest import Demo
from musehub_pipeline_tests.cli.terminal import (
    Finished,
    Git,
    call,
    finish,
    processes_of,
    run,
    start,
)
from musehub_pipeline_tests.hub import Hub

ANOTHER_USER = 65534
ANOTHER_WHO_READS = (
    "setpriv",
    f"--reuid={ANOTHER_USER}",
    f"--regid={ANOTHER_USER}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)
HOLD = """
import sys
from musehub_pipeline import local, settings
local.resolve(settings.Settings.load())
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(demo: Demo) -> Iterator[Path]:
    yield demo.home
    assert processes_of(demo.home) == {}


def hold(home: Path) -> "subprocess.Popen[str]":
    """Start a process that uses the home until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=dict(os.environ) | {"MUSEHUB_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def heads(hub: Hub) -> dict[str, str]:
    rows = hub.sql(
        "SELECT b.name, c.commit_meta -> 'metadata' ->> 'git_commit' AS git"
        " FROM musehub_branches AS b JOIN musehub_commits AS c"
        " ON c.repo_id = b.repo_id AND c.commit_id = b.head_commit_id"
    )
    return {row["name"]: row["git"] for row in rows}


def first_line(finished: Finished) -> str:
    assert finished.code == 0, finished
    return finished.out.splitlines()[0].split(" and ")[0]


def test_on_a_bare_machine_it_shows_all_that_came_of_it(demo: Demo) -> None:
    finished = demo.finished

    assert first_line(finished) == "packed 2 commits, 2 snapshots"
    assert finished.err.count("✅ [mpack.index] done job=job_") == 1
    shown = [line.strip("│ ").split(" ")[0] for line in finished.out.splitlines()]
    assert [name for name in shown if name in KEYS] == list(KEYS)
    for said in ("result of job_", "make dev", "jobs list", "db query", f"in {demo.home}."):
        assert said in finished.out
    assert processes_of(demo.home) == {}


def test_nobody_else_can_look_into_what_it_leaves(demo: Demo) -> None:
    folders = [path for path in demo.home.iterdir() if path.is_dir()]

    assert {path.name for path in folders} >= {"dagster", "postgres", "scratch", "store"}
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in folders} == {
        path.name: "0o0" for path in folders
    }
    assert os.geteuid() == 0 or demo.home.stat().st_mode & 0o077 == 0


def test_the_readme_shows_what_it_prints(demo: Demo) -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    shown = shape(re.findall(r"^    (packed .*\n    ✅ (?:.*\n)+?)\n", readme, re.M)[0])
    packed, done = demo.finished.out, demo.finished.err

    first, _, second = shown.partition(" ✅ ")
    assert first in shape(packed)
    assert second in shape(done)


def shape(text: str) -> str:
    """Return what is printed without its figures, ids and line ends."""
    text = re.sub(r"(job|repo)_[0-9a-f]+…?", r"\1_", " ".join(text.split()))
    return re.sub(r"\d[\d.,]*", "0", text)


def test_after_a_new_commit_it_packs_that_one(demo: Demo) -> None:
    demo.git.commit("more", {"d": b"d"})

    finished = run("demo", home=demo.home, cwd=demo.git.path)

    assert first_line(finished) == "packed 1 commits, 1 snapshots"
    assert "✅ [mpack.index] done job=job_" in finished.err
    assert processes_of(demo.home) == {}


def test_it_shows_what_refused_pushes_look_like(hub: Hub, git: Git) -> None:
    first = call("demo", "--git", git.path, "--with-failures")
    again = call("demo", "--git", git.path, "--with-failures")

    codes = [
        None,
        "NON_FAST_FORWARD",
        "MPACK_MALFORMED",
        "OBJECT_HASH_MISMATCH",
        "BAD_PATH",
        "PARENT_NOT_HELD",
        "BAD_PAYLOAD",
    ]
    for finished in (first, again):
        assert finished.code == 0, finished
        _, _, table = finished.out.partition("pushes that are refused")
        rows = [line.split("│")[1:-1] for line in table.splitlines() if line.startswith("│")]
        assert [row[2].strip() for row in rows] == [code or "-" for code in codes]
        job_ids = [row[3].strip() for row in rows]
        assert [hub.job(job_id)["error_code"] for job_id in job_ids] == codes
    assert "nothing is new" not in first.out
    assert "nothing is new" in again.out
    repos = hub.sql("SELECT owner, slug FROM musehub_repos WHERE slug = 'refused'")
    assert repos == [{"owner": "demo", "slug": "refused"}]
    assert call("fsck").code == 0


def test_the_server_serves_until_the_last_of_its_processes_ends_also_by_a_kill(home: Path) -> None:
    with hold(home) as process:
        beside = run("db", "current", home=home)
        process.kill()
    serving = " ".join(processes_of(home).values())

    after = run("db", "current", home=home)

    assert (beside.code, after.code) == (0, 0), (beside, after)
    assert "postgres" in serving
    assert processes_of(home) == {}


def test_it_recovers_from_a_server_that_was_killed(home: Path) -> None:
    with hold(home) as process:
        [server] = [number for number, line in processes_of(home).items() if "/postgres -D" in line]
        process.kill()
    os.kill(server, signal.SIGKILL)

    finished = run("jobs", "list", "--json", home=home)

    assert finished.code == 0, finished
    assert processes_of(home) == {}


def test_two_commands_may_start_the_same_home_at_once(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="home-") as folder:
        home = Path(folder)
        both = [start("db", "upgrade", home=home) for _ in range(2)]
        ended = [finish(process) for process in both]

        assert [one.code for one in ended] == [0, 0], ended
        assert processes_of(home) == {}


def test_it_works_as_another_user_too(git: Git) -> None:
    if os.geteuid() != 0:
        pytest.skip("it takes root to be someone else")
    with TemporaryDirectory(prefix="home-") as folder:
        repository = shutil.copytree(git.path, Path(folder, "song"))
        subprocess.run(["chown", "-R", str(ANOTHER_USER), folder], check=True)
        identity = {"user": ANOTHER_USER, "group": ANOTHER_USER, "extra_groups": []}
        home = Path(folder, "home")

        try:
            finished = run("demo", "--git", repository, home=home, cwd=folder, **identity)
        except PermissionError:  # this Python is where nobody but root may look
            finished = run(
                "demo", "--git", repository, home=home, cwd=folder, through=ANOTHER_WHO_READS
            )

        assert first_line(finished) == "packed 2 commits, 2 snapshots", finished
        assert processes_of(home) == {}


def test_the_second_time_nothing_is_new_whatever_the_folder_is_called(hub: Hub, git: Git) -> None:
    folder = git.path.rename(git.path.with_name("[bold] ♫"))
    first = call("demo", "--git", folder)

    again = call("demo", "--git", folder)

    assert (first.code, again.code) == (0, 0)
    assert f"nothing is new in {folder}: the index has all of it already\n" in again.out
    assert "Look further" in again.out
    assert len(hub.sql("SELECT 1 AS job FROM musehub_background_jobs")) == 1


def test_every_branch_is_followed(hub: Hub, git: Git) -> None:
    git("branch", "side", "HEAD~1")
    call("demo", "--git", git.path)
    git("branch", "new")
    tip = git.commit("more", {"d": b"d"})

    finished = call("demo", "--git", git.path)

    assert first_line(finished) == "packed 1 commits, 1 snapshots"
    side, old = git("rev-parse", "side"), git("rev-parse", "new")
    assert heads(hub) == {"main": tip, "side": side, "new": old}


def test_a_rewritten_history_is_followed_also_where_git_forgot_the_old_one(
    hub: Hub, git: Git
) -> None:
    call("demo", "--git", git.path)

    git.commit("better", {"c": b"c2"}, "--amend")
    amended = call("demo", "--git", git.path)
    tip = git.commit("best", {"c": b"c3"}, "--amend")
    git("reflog", "expire", "--expire=now", "--all")
    git("gc", "--quiet", "--prune=now")
    forgotten = call("demo", "--git", git.path)

    assert first_line(amended) == "packed 1 commits, 1 snapshots"
    assert first_line(forgotten) == "packed 2 commits, 2 snapshots"
    assert heads(hub) == {"main": tip}
    assert hub.counts()["commits"] == 4


@pytest.mark.parametrize("branch_is_left", [False, True])
def test_a_detached_head_is_no_obstacle(hub: Hub, git: Git, branch_is_left: bool) -> None:
    main = git("rev-parse", "HEAD")
    git("switch", "--quiet", "--detach", "HEAD" if branch_is_left else "HEAD~1")
    tip = git("rev-parse", "HEAD")
    if not branch_is_left:
        git("branch", "--quiet", "-D", "main")

    finished = call("demo", "--git", git.path)

    assert finished.code == 0, finished
    assert heads(hub) == ({"main": main} if branch_is_left else {"detached": tip})


def repo_of(git: Path) -> str:
    """Return the name of the repository that a demo of `git` pushes to."""
    return f"demo/{git.name}-{sha256(bytes(git.resolve())).hexdigest()[:6]}"


def test_what_an_earlier_demo_left_in_the_queue_is_indexed_first(
    hub: Hub, git: Git, tmp_path: Path
) -> None:
    """As after Ctrl-C between push and index."""
    call("pack", git.path, "-o", tmp_path / "some.mpack")
    call("push", tmp_path / "some.mpack", "--repo", repo_of(git.path), "--create")

    finished = call("demo", "--git", git.path)

    assert finished.code == 0, finished
    assert heads(hub) == {"main": git("rev-parse", "HEAD")}
    statuses = hub.sql("SELECT status FROM musehub_background_jobs")
    assert statuses == [{"status": "done"}] * 2


def test_a_run_that_still_holds_the_repository_is_named(hub: Hub, git: Git, tmp_path: Path) -> None:
    """As after a kill in the middle, until the lease expires."""
    call("pack", git.path, "-o", tmp_path / "some.mpack")
    [held] = call(
        "push", tmp_path / "some.mpack", "--repo", repo_of(git.path), "--create", "--json"
    ).json["job_ids"]
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'running', run_id = 'other', attempt = 1,"
        " lease_expires_at = now() + interval '1 hour'"
    )

    finished = call("demo", "--git", git.path)

    assert finished.code != 0
    assert held in finished.err


@pytest.mark.parametrize("folder", ["nowhere", "empty", "unborn"])
def test_without_a_history_it_is_an_error(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "empty").mkdir()
    Git(tmp_path / "unborn")

    finished = call("demo", "--git", tmp_path / folder)

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.splitlines()[-1].startswith("error: ")
    assert str(tmp_path / folder) in finished.err
    assert hub.sql("SELECT job_id FROM musehub_background_jobs") == []
