"""`push`: an mpack in storage, then rows as the hub writes them, or an error and no row."""

import subprocess
import sys
from getpass import getuser
from pathlib import Path

import pytest

from musehub_pipeline_tests.cli.terminal import Finished, call, run
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.factories import History, pack, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.moto import MotoS3

HISTORY = small_history()
FIRST, *_, LAST = HISTORY.commits


@pytest.fixture
def mpack(tmp_path: Path) -> Path:
    """Four commits, and a head for each of two branches."""
    path = tmp_path / "some.mpack"
    path.write_bytes(HISTORY.mpack(branch_heads={"main": LAST, "old": FIRST}))
    return path


def jobs(hub: Hub) -> list[dict[str, object]]:
    return hub.sql("SELECT * FROM musehub_background_jobs ORDER BY created_at, job_id")


def mpacks(hub: Hub) -> list[str]:
    return [entry["path"] for chunk in hub.store.list("mpacks/") for entry in chunk]


def assert_is_error(finished: Finished, *named: str) -> None:
    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("error: ")
    for name in named:
        assert name in finished.err


def test_it_writes_the_rows_and_the_bytes_that_the_hub_would(any_hub: Hub, mpack: Path) -> None:
    report = call("push", mpack, "--repo", "ada/song", "--create", "--json").json

    key = report["mpack_key"]
    assert report == {"mpack_key": key, "uploaded": True, "job_ids": report["job_ids"]}
    [stored] = mpacks(any_hub)
    assert stored == f"mpacks/{key.removeprefix('sha256:')}"
    assert any_hub.store.get(stored).bytes() == mpack.read_bytes()
    [repo] = any_hub.sql("SELECT * FROM musehub_repos")
    assert (repo["owner"], repo["slug"], repo["pushed_at"]) == ("ada", "song", None)
    rows = jobs(any_hub)
    assert [row["job_id"] for row in rows] == report["job_ids"]
    for row, (branch, head) in zip(rows, {"main": LAST, "old": FIRST}.items(), strict=True):
        assert row.pop("job_id")
        assert row.pop("created_at") is not None
        assert {name: value for name, value in row.items() if value is not None} == {
            "repo_id": repo["repo_id"],
            "job_type": "mpack.index",
            "status": "pending",
            "attempt": 0,
            "attempts": [],
            "attempts_forgiven": 0,
            "payload": {
                "mpack_key": key,
                "pusher_id": getuser(),
                "branch": branch,
                "head": head,
                "force": False,
                "declared_objects_count": 14,
            },
        }


def test_it_prints_the_jobs_one_a_line(hub: Hub, mpack: Path) -> None:
    finished = call("push", mpack, "-r", "ada/song", "--create")

    assert finished.out.split("\n") == [*(str(row["job_id"]) for row in jobs(hub)), ""]


def test_a_second_push_uploads_nothing_and_enqueues_again(hub: Hub, mpack: Path) -> None:
    first = call("push", mpack, "--repo", "ada/song", "--create", "--json").json

    second = call("push", mpack, "--repo", "ada/song", "--create", "--json").json

    assert (second["uploaded"], second["mpack_key"]) == (False, first["mpack_key"])
    assert len({*first["job_ids"], *second["job_ids"]}) == len(jobs(hub)) == 4
    assert len(hub.sql("SELECT 1 FROM musehub_repos")) == len(mpacks(hub)) == 1


def test_it_makes_no_more_requests_at_a_time_than_are_set(
    hub: Hub, moto_s3: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = s3_settings(hub.settings, moto_s3)
    for name, value in moto_s3.aws_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", str(there.storage_url))
    monkeypatch.setenv("MUSEHUB_STORAGE_THREADS", "1")
    path = tmp_path / "some.mpack"
    path.write_bytes(pack({"objects": [bytes(8 << 20)] * 4}))

    with moto_s3.requests_at_a_time() as noted:
        assert call("push", path, "--repo", "ada/song", "--create").code == 0

    assert len(noted) > 4  # a part each, and more
    assert set(noted) == {1}
    assert mpacks(Hub(there)) != []


@pytest.mark.parametrize(
    ("options", "moves"),
    [
        (["--branch", "old"], [("old", FIRST, False)]),
        (["--branch", "new", "--head", FIRST], [("new", FIRST, False)]),
        (["-b", "main", "--head", LAST[-64:], "--force"], [("main", LAST[-64:], True)]),
        (["--force"], [("main", LAST, True), ("old", FIRST, True)]),
    ],
)
def test_options_say_which_branch_moves_where(
    hub: Hub, mpack: Path, options: list[str], moves: list[tuple[str, str, bool]]
) -> None:
    assert call("push", mpack, "--repo", "ada/song", "--create", *options).code == 0

    payloads = [row["payload"] for row in jobs(hub)]
    assert [(p["branch"], p["head"], p["force"]) for p in payloads] == moves  # pyright: ignore


def test_an_mpack_without_heads_is_one_job_that_moves_no_branch(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "some.mpack"
    path.write_bytes(History().mpack())

    [job_id] = call("push", path, "--repo", "ada/song", "--create", "--json").json["job_ids"]

    payload = hub.job(job_id)["payload"]
    assert (payload["branch"], payload["head"]) == (None, None)


def test_options_that_fit_nothing_are_wrong_usage(hub: Hub, mpack: Path) -> None:
    options = {
        "needs --branch": ["--head", LAST],
        "--head 'HEAD' is not a commit id": ["--branch", "main", "--head", "HEAD"],
        "no head for branch 'none'": ["--branch", "none"],
    }

    for named, given in options.items():
        finished = call("push", mpack, "--repo", "ada/song", "--create", *given)
        assert (finished.code, finished.out) == (2, "")
        assert named in finished.err

    assert jobs(hub) == hub.sql("SELECT 1 FROM musehub_repos") == []


def test_a_repository_that_is_not_there_gets_nothing(hub: Hub, mpack: Path) -> None:
    hub.create_repo("gone", owner="gone")
    hub.sql("UPDATE musehub_repos SET deleted_at = now()")

    for name in ("ada/none", "gone/gone"):
        assert_is_error(call("push", mpack, "--repo", name), name)
    for name in ("ada", "ada/", "/song", "a/b/c"):
        assert call("push", mpack, "--repo", name).code == 2

    assert jobs(hub) == mpacks(hub) == []


NO_MPACKS = {
    "empty": b"",
    "a zip file": b"PK\x03\x04 no msgpack",
    "truncated": HISTORY.mpack()[:-1],
    "a list": pack([]),
    "objects that are no list": pack({"objects": None}),
    "heads that are no map": pack({"branch_heads": ["main"]}),
    "absent": None,
}


def test_a_file_that_is_no_mpack_makes_no_row_at_all(hub: Hub, tmp_path: Path) -> None:
    for name, content in NO_MPACKS.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        assert_is_error(call("push", path, "--repo", "ada/song", "--create"), str(path))

    assert jobs(hub) == mpacks(hub) == hub.sql("SELECT 1 FROM musehub_repos") == []


@pytest.mark.parametrize(
    ("heads", "named"),
    [
        ({"main": LAST, "ma\0in": LAST}, "payload.branch: a branch name holds NUL"),
        ({"main": LAST, "a\u202eb": LAST}, r"payload.branch: 'a\u202eb' can be no branch: "),
        ({"main": LAST, b"dev": LAST}, "$.branch"),
        ({"": LAST}, "payload.head: a head needs a branch to move"),
        ({"main": "HEAD"}, "payload.head: 'HEAD' is not an id"),
        ({"main": 7}, "$.head"),
    ],
)
def test_a_head_that_no_job_can_have_makes_no_job_at_all(
    hub: Hub, tmp_path: Path, heads: dict[object, object], named: str
) -> None:
    path = tmp_path / "some.mpack"
    path.write_bytes(pack({"branch_heads": heads}))

    assert_is_error(call("push", path, "-r", "ada/song", "--create"), named)
    assert jobs(hub) == mpacks(hub) == []

    finished = call("push", path, "-r", "ada/song", "-b", "main", "--head", LAST)
    assert (finished.code, len(jobs(hub))) == (0, 1)


def test_a_branch_without_a_commit_is_a_job_that_moves_none(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "some.mpack"
    path.write_bytes(pack({"branch_heads": {"main": None}}))

    assert call("push", path, "-r", "ada/song", "--create").code == 0
    assert [job["payload"]["head"] for job in jobs(hub)] == [None]


def test_nor_does_it_where_the_head_is_given(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "some.mpack"
    path.write_bytes(b"")

    finished = call("push", path, "-r", "ada/song", "--create", "-b", "main", "--head", LAST)

    assert_is_error(finished, str(path))
    assert jobs(hub) == mpacks(hub) == hub.sql("SELECT 1 FROM musehub_repos") == []


def test_storage_that_is_not_there_is_an_error_and_no_job(
    any_hub: Hub, mpack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = str(any_hub.settings.storage_url).startswith("s3")
    url = "s3://no-such-bucket" if s3 else "file:///no/such/folder"
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", url)

    finished = call("push", mpack, "--repo", "ada/song", "--create")

    assert_is_error(finished, "STORAGE_UNAVAILABLE", url, "does not exist")
    assert jobs(any_hub) == []


def test_a_user_without_a_name_can_push(
    hub: Hub, mpack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number of its own."""
    hide = "mount --bind /dev/null /etc/passwd && mount --bind /dev/null /etc/nsswitch.conf"
    nameless = ["unshare", "--mount", "sh", "-c", hide + ' && exec "$@"', "sh"]
    look = [sys.executable, "-c", "import os, pwd; pwd.getpwuid(os.getuid())"]
    if (
        b"KeyError"
        not in subprocess.run([*nameless, *look], capture_output=True, check=False).stderr
    ):
        pytest.skip("it takes root to hide /etc/passwd")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    finished = run("push", mpack, "-r", "ada/song", "--create", "--json", through=nameless)

    assert len(finished.json["job_ids"]) == 2
