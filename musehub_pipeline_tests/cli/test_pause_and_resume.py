"""`jobs pause` and `jobs resume`: an operator holds back a repository, or the queue."""

import pytest

from musehub_pipeline import process_mpack_index_job
from musehub_pipeline.domain.errors import JobNotDone
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

EMPTY = History().mpack()


def test_a_repository_waits_until_it_is_resumed(hub: Hub) -> None:
    song, tune = (hub.push(hub.create_repo(slug), EMPTY) for slug in ("song", "tune"))

    paused = call("jobs", "pause", "--repo", "ada/song", "--reason", "its storage moves")
    indexed = call("index", "--json").json
    by_name = call("index", song)
    with pytest.raises(JobNotDone, match="waits: its repository is paused, its storage moves"):
        process_mpack_index_job(song, hub.settings)
    status = call("status").out

    assert (paused.code, paused.err) == (0, "")
    assert paused.out.startswith("paused: ada/song since ")
    assert paused.out.endswith(": its storage moves; 1 jobs wait\n")
    assert [row["job_id"] for row in indexed] == [tune]
    assert (by_name.code, hub.job(song)["attempt"]) == (0, 0)
    assert f"job {song} waits: its repository is paused, its storage moves\n" in by_name.err
    assert "1: ada/song since" in status
    resumed = call("jobs", "resume", "--repo", "ada/song")
    assert (resumed.code, resumed.out, resumed.err) == (0, "nothing is paused\n", "")
    assert [row["job_id"] for row in call("index", "--json").json] == [song]


def test_the_queue_waits_and_scripts_are_told(hub: Hub) -> None:
    repo_id = hub.create_repo()
    hub.push(repo_id, EMPTY)

    [of_queue] = call("jobs", "pause", "--json").json["paused"]
    again = call("jobs", "pause")
    due = call("index")
    [_, of_repo] = call("jobs", "pause", "-r", "ada/song", "--json").json["paused"]
    status = call("status", "--json").json

    assert of_queue.pop("paused_at")
    assert of_queue == {"repo_id": None, "owner": None, "slug": None, "reason": "", "jobs": 1}
    assert (again.code, again.err) == (0, "the queue was paused already\n")
    assert due.err == "nothing is due\n"
    assert (status["paused"], status["due"], len(status["pauses"])) == (1, 0, 2)
    assert call("jobs", "resume", "--json").json == {"paused": [of_repo]}
    refused = call("jobs", "resume")
    assert (refused.code, refused.err) == (3, "the queue was not paused\n")
    assert call("jobs", "pause", "--repo", "ada/none").code == 1


def test_a_pause_outlives_its_repository_and_can_be_ended(hub: Hub) -> None:
    repo_id = hub.create_repo()
    job_id = hub.push(repo_id, EMPTY)
    call("jobs", "pause", "--repo", "ada/song")
    call("jobs", "pause")
    hub.sql("DELETE FROM musehub_repos")

    by_name = call("jobs", "resume", "--repo", "ada/song")
    paused = call("jobs", "pause").out
    resumed = call("jobs", "resume", "--all")
    call("index")

    assert by_name.code == 1
    assert f"paused: {repo_id} since " in paused
    assert (resumed.code, resumed.out) == (0, "nothing is paused\n")
    assert hub.job(job_id)["error_code"] == "REPO_UNKNOWN"
    again = call("jobs", "resume", "--all")
    assert (again.code, again.err) == (3, "nothing was paused\n")
    assert call("jobs", "resume", "--all", "--repo", "ada/song").code == 2
