"""`fsck --deep`: what rotted is told whole, whatever kills the command on its way."""

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from musehub_pipeline_tests.audit.damaging import key_of, many_files, rot
from musehub_pipeline_tests.cli.terminal import Finished, call, finish, start, wait_until
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

SONG, TALK = many_files(5, seed=1), many_files(3, seed=2)
WINDOW = 1_000


@pytest.fixture
def pushed(any_hub: Hub) -> dict[str, str]:
    """Jobs of three repositories by name; ada/song and ada/fork have the same mpack."""
    histories = {"song": SONG, "fork": SONG, "talk": TALK}
    jobs = {
        slug: any_hub.push(any_hub.create_repo(slug), history.mpack())
        for slug, history in histories.items()
    }
    index_all(any_hub)
    return jobs


def lines(finished: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in finished.out.splitlines()]


def journals(hub: Hub) -> list[Path]:
    folder = Path(hub.settings.home) / "fsck"
    return list(folder.iterdir()) if folder.exists() else []


def path_of(hub: Hub, object_id: str) -> Path:
    return Path(urlsplit(str(hub.settings.storage_url)).path, key_of(object_id))


def counted(line: str) -> tuple[int, ...]:
    found = re.fullmatch(
        r"objects=(\d+) bytes=(\d+) findings=(\d+) seconds=\d+\.\d{3} MB/s=\d+\.\d", line
    )
    assert found, line
    return tuple(map(int, found.groups()))


def line_of(hub: Hub, jobs: dict[str, str], object_id: str, what: str) -> dict[str, Any]:
    """Return what a script is to read of an object."""
    history, slugs = (SONG, ("fork", "song")) if object_id in SONG.objects else (TALK, ("talk",))
    stored = hub.stored_objects().get(object_id)
    payloads = {jobs[slug]: hub.job(jobs[slug])["payload"] for slug in slugs}
    return {
        "object_id": object_id,
        "what": what,
        "expected": {"size_bytes": len(history.objects[object_id]), "hash": object_id},
        "actual": stored and {"size_bytes": len(stored), "hash": id_of(stored)},
        "repos": [f"repo-{slug}" for slug in slugs],
        "jobs": [
            {"job_id": job_id, "mpack_key": payloads[job_id]["mpack_key"]}
            for job_id in sorted(payloads)
        ],
    }


def id_of(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def test_bytes_that_are_all_right_are_0_and_counted(any_hub: Hub, pushed: dict[str, str]) -> None:
    scripted, told = call("fsck", "--deep", "--json"), call("fsck", "--deep")

    size = sum(map(len, any_hub.stored_objects().values()))
    assert (scripted.code, scripted.out, told.code) == (0, "", 0)
    assert counted(scripted.err.splitlines()[-1]) == counted(told.out.strip()) == (8, size, 0)
    assert journals(any_hub) == []


def test_what_rotted_is_1_and_a_line_each_with_who_holds_it_and_who_has_it(
    any_hub: Hub, pushed: dict[str, str]
) -> None:
    contents = SONG.objects | TALK.objects
    wrong = rot(any_hub, contents, sorted(contents)[1:], seed=5)
    assert set(wrong.values()) == {"missing", "size", "hash"}

    scripted, told = call("fsck", "--deep", "--json"), call("fsck", "--deep")

    assert scripted.code == told.code == 3
    expected = [
        line_of(any_hub, pushed, object_id, wrong[object_id]) for object_id in sorted(wrong)
    ]
    assert lines(scripted) == expected
    size = sum(map(len, any_hub.stored_objects().values()))
    assert counted(told.out.splitlines()[-1]) == (8, size, 7)
    for line, found in zip(told.out.splitlines(), expected, strict=False):
        assert line.startswith(f"{found['what']}: {found['object_id']} of ")
        assert all(repo_id in line for repo_id in found["repos"])
        assert all(job["job_id"] in line for job in found["jobs"])
    assert journals(any_hub) == []


def test_mpacks_that_are_gone_or_rotten_or_were_refused_have_nothing(any_hub: Hub) -> None:
    history = many_files(2, seed=3)
    repo_id = any_hub.create_repo()
    padded = [history.mpack(tags=[b"x" * n]) for n in range(4)]
    jobs = [any_hub.push(repo_id, mpack) for mpack in padded[1:]]
    any_hub.push(repo_id, padded[0], declared_objects_count=7)
    index_all(any_hub)
    keys = [any_hub.job(job_id)["payload"]["mpack_key"] for job_id in jobs]
    any_hub.store.delete(f"mpacks/{keys[0][7:]}")
    any_hub.store.put(f"mpacks/{keys[1][7:]}", padded[2][:-1])
    rot(any_hub, history.objects, history.objects)

    found = lines(call("fsck", "--deep", "--json"))

    assert [each["jobs"] for each in found] == [[{"job_id": jobs[2], "mpack_key": keys[2]}]] * 2


def test_one_repository_or_what_is_young_can_be_read_alone(
    any_hub: Hub, pushed: dict[str, str]
) -> None:
    contents = SONG.objects | TALK.objects
    rot(any_hub, contents, contents)
    any_hub.sql("UPDATE musehub_objects SET created_at = now() - interval '3 hours'")
    young = sorted(SONG.objects)[3]
    any_hub.sql(
        "UPDATE musehub_objects SET created_at = now() WHERE object_id = %(o)s", {"o": young}
    )

    def ids(*options: str) -> list[str]:
        return [each["object_id"] for each in lines(call("fsck", "--deep", "--json", *options))]

    assert ids("--repo", "ada/talk") == sorted(TALK.objects)
    assert ids("--repo", "ada/fork") == sorted(SONG.objects)
    assert ids("--since", "2h") == [young]
    assert ids("--since", "2h", "--repo", "ada/talk") == []
    assert len(ids("--since", "4h")) == 8


def test_one_that_was_killed_is_resumed_behind_what_it_read_and_tells_all_it_found(
    hub: Hub,
) -> None:
    history = many_files(WINDOW + 3, seed=6)
    hub.push(hub.create_repo(), history.mpack())
    index_all(hub)
    ordered = sorted(history.objects)
    rotten, read, blocking, last = ordered[0], ordered[1], ordered[WINDOW], ordered[-1]
    rot(hub, history.objects, [rotten, last])
    path_of(hub, blocking).unlink()
    os.mkfifo(path_of(hub, blocking))  # whoever reads it waits

    process = start("fsck", "--deep", "--json")
    wait_until(process, lambda: any(b"checked" in path.read_bytes() for path in journals(hub)))
    process.kill()
    assert finish(process).out == ""
    path_of(hub, blocking).unlink()
    path_of(hub, blocking).write_bytes(history.objects[blocking])
    rot(hub, history.objects, [read])  # too late: it has been read

    finished = call("fsck", "--deep", "--json", "--resume")

    assert [each["object_id"] for each in lines(finished)] == [rotten, last]
    assert f"{WINDOW:,} objects were read before" in finished.err
    assert counted(finished.err.splitlines()[-1])[::2] == (WINDOW + 3, 2)
    assert journals(hub) == []


def test_without_resume_all_is_read_again_and_with_it_where_nothing_was_stopped(
    any_hub: Hub, pushed: dict[str, str]
) -> None:
    rot(any_hub, SONG.objects, SONG.objects)

    afresh, resumed = (call("fsck", "--deep", "--json", *more) for more in ([], ["--resume"]))

    assert lines(afresh) == lines(resumed)
    assert len(lines(resumed)) == 5
    assert "there is nothing to resume: all is read" in resumed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "24h"], "--since goes with --deep"),
        (["--repair", "--since", "24h"], "--since goes with --deep"),
        (["--resume"], "--resume goes with --deep"),
        (["--deep", "--names"], "only one is possible"),
        (["--repair", "--orphans"], "only one is possible"),
        (["--orphans", "--prune-orphans"], "only one is possible"),
        (["--deep", "--older-than", "3d"], "--older-than goes with --orphans"),
        (["--orphans", "--repo", "ada/song"], "--repo goes with what has a row"),
        (["--deep", "--since", "yesterday"], "'yesterday' is not an age such as 90s"),
        (["--prune-orphans"], "--prune-orphans needs --older-than, an age such as 3d"),
        (["--prune-orphans", "--older-than", "59m"], "--older-than 0:59:00"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(
    hub: Hub, options: list[str], message: str
) -> None:
    finished = call("fsck", *options)

    assert (finished.code, finished.out) == (2, "")
    assert message in finished.err
