"""Runs that carry several jobs: none harms its neighbours, and those of a repo go in order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.observed import statuses
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

HISTORY = small_history()
MPACK = HISTORY.mpack()
FIRST, *_, LAST = HISTORY.commits
NOT_MSGPACK = b"\xc1"
EMPTY = History().mpack()

Run = Callable[..., list[str]]

MISSING = {"mpack_key": "sha256:" + "0" * 64, "pusher_id": "ada", "branch": "main"}


@pytest.fixture
def run(hub: Hub, instance: dg.DagsterInstance) -> Run:
    """Index one batch, with some settings changed."""

    def run_once(**changes: Any) -> list[str]:
        return Runner(hub.settings.model_copy(update=changes), instance).run()

    return run_once


@pytest.fixture(params=[-1, 200_000], ids=["compact", "in sets"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what earlier jobs bring as where it is much, and as where it is little."""
    monkeypatch.setattr("musehub_pipeline.phases.unpack._MOST_IN_SETS", request.param)


def make_due(hub: Hub) -> None:
    hub.sql("UPDATE musehub_background_jobs SET not_before = now() WHERE status = 'pending'")


def chain(*, prefix: str = "") -> list[tuple[bytes, str]]:
    """Three mpacks of a commit each, every one but the first thin, and their heads."""
    history, mpacks, files, parents = History(), [], {}, []
    for n in range(3):
        before = history.copy()
        files |= {f"{prefix}{n}": f"{prefix}{n}".encode()}
        parents = [history.commit(files, parents=parents, message=f"{prefix}{n}")]
        mpacks.append((history.mpack(without=before), parents[0]))
    return mpacks


def test_a_rejected_job_leaves_its_four_neighbours_alone(hub: Hub, run: Run) -> None:
    repos = {slug: hub.create_repo(slug) for slug in "abcde"}
    jobs = {
        slug: hub.push(
            repo_id, NOT_MSGPACK if slug == "c" else MPACK, head=None if slug == "c" else LAST
        )
        for slug, repo_id in repos.items()
    }

    taken = run()

    assert taken == list(jobs.values())
    assert statuses(hub, *jobs.values()) == [
        ("failed", 1, "MPACK_MALFORMED") if slug == "c" else ("done", 1, None) for slug in repos
    ]
    results = [hub.job(jobs[slug])["result"] for slug in "abde"]
    assert {result["batch_jobs"] for result in results} == {5}
    assert len({result["run_id"] for result in results}) == 1
    assert [hub.head(repo_id) for repo_id in repos.values()] == [LAST, LAST, None, LAST, LAST]
    for slug in "abde":
        assert_index_holds(hub, repos[slug], HISTORY)


def test_an_unexpected_error_of_one_job_is_its_own_affair(hub: Hub, run: Run) -> None:
    """A folder lies where one of its objects belongs."""
    good, odd = History(), History()
    good.commit({"a": b"good"})
    in_the_way = odd.add_object(b"odd").removeprefix("sha256:")
    odd.commit({"a": b"odd"})
    store = Path(str(hub.settings.storage_url).removeprefix("file://"))
    (store / "objects" / in_the_way[:2] / in_the_way / "x").mkdir(parents=True)
    first = hub.push(hub.create_repo("odd"), odd.mpack())
    behind = hub.push("repo-odd", EMPTY)
    other = hub.push(hub.create_repo("good"), good.mpack())

    run(retry_base_seconds=1e6, retry_cap_seconds=1e6)

    assert statuses(hub, first, behind, other) == [
        ("pending", 1, "STORAGE_UNAVAILABLE"),
        ("pending", 0, None),
        ("done", 1, None),
    ]
    assert run() == []
    (store / "objects" / in_the_way[:2] / in_the_way / "x").rmdir()
    (store / "objects" / in_the_way[:2] / in_the_way).rmdir()
    make_due(hub)
    assert run() == [first, behind]
    assert statuses(hub, first, behind) == [("done", 2, None), ("done", 1, None)]


def test_an_error_of_the_pipeline_itself_is_transient(hub: Hub, run: Run) -> None:
    jobs = [hub.push(hub.create_repo(slug), MPACK) for slug in "ab"]
    hub.sql("ALTER TABLE musehub_commits RENAME TO elsewhere")

    run()

    assert statuses(hub, *jobs) == [("pending", 1, "INTERNAL_ERROR")] * 2
    hub.sql("ALTER TABLE elsewhere RENAME TO musehub_commits")
    make_due(hub)
    run()
    assert statuses(hub, *jobs) == [("done", 2, None)] * 2


@pytest.mark.usefixtures("_either_way")
def test_pushes_to_one_repo_lean_on_each_other_within_a_batch(hub: Hub, run: Run) -> None:
    repo_id = hub.create_repo()
    jobs = [hub.push(repo_id, mpack, head=head) for mpack, head in chain()]

    assert run() == jobs

    results = [hub.job(job)["result"] for job in jobs]
    assert [result["head_moved"] for result in results] == [True] * 3
    assert [result["commits_inserted"] for result in results] == [1, 1, 1]
    assert [result["objects_total"] for result in results] == [1, 1, 1]
    assert hub.head(repo_id) == chain()[-1][1]
    assert hub.counts()["commits"] == hub.counts()["objects"] == 3


@pytest.mark.usefixtures("_either_way")
def test_a_step_back_within_a_batch_is_refused(hub: Hub, run: Run) -> None:
    repo_id = hub.create_repo()
    forward, back = hub.push(repo_id, MPACK, head=LAST), hub.push(repo_id, EMPTY, head=FIRST)

    run()

    assert statuses(hub, forward, back) == [("done", 1, None), ("failed", 1, "NON_FAST_FORWARD")]
    assert hub.head(repo_id) == LAST
    forced = [hub.push(repo_id, EMPTY, head=h, force=f) for h, f in ((FIRST, True), (LAST, False))]
    run()
    assert statuses(hub, *forced) == [("done", 1, None)] * 2
    assert [hub.job(job)["result"]["head_moved"] for job in forced] == [True, True]
    assert hub.head(repo_id) == LAST


def test_a_refused_push_holds_up_no_other_of_its_repo(hub: Hub, run: Run) -> None:
    repo_id = hub.create_repo()
    bad = [hub.push(repo_id, NOT_MSGPACK) for _ in range(6)]
    good = [hub.push(repo_id, mpack, head=head) for mpack, head in chain()]

    assert run() == [*bad, *good]

    assert statuses(hub, *bad) == [("failed", 1, "MPACK_MALFORMED")] * 6
    assert statuses(hub, *good) == [("done", 1, None)] * 3
    assert hub.head(repo_id) == chain()[-1][1]


def test_behind_a_push_that_cannot_be_read_the_others_of_its_repo_wait_unspent(
    hub: Hub, run: Run
) -> None:
    repo_id = hub.create_repo()
    jobs = [hub.enqueue(repo_id, **MISSING)]
    jobs += [hub.push(repo_id, mpack, head=head) for mpack, head in chain()]

    run()

    assert statuses(hub, *jobs) == [("failed", 1, "MPACK_MISSING"), *[("pending", 0, None)] * 3]
    assert set(hub.counts().values()) == {0}
    assert run() == jobs[1:]
    assert statuses(hub, *jobs[1:]) == [("done", 1, None)] * 3
    assert hub.head(repo_id) == chain()[-1][1]


def test_a_job_that_was_put_off_looks_as_if_it_had_not_been_claimed(hub: Hub, run: Run) -> None:
    repo_id = hub.create_repo()
    hub.enqueue(repo_id, **MISSING)
    put_off = hub.push(repo_id, MPACK)
    before = hub.job(put_off)

    run()

    after = hub.job(put_off)
    assert after.pop("not_before") is not None
    before.pop("not_before")
    assert after == before


def test_what_leaned_on_a_failed_push_fails_in_its_turn(hub: Hub, run: Run) -> None:
    repo_id = hub.create_repo()
    (first, _), *others = chain()
    bad = hub.push(repo_id, first, declared_objects_count=2)
    thin = [hub.push(repo_id, mpack, head=head) for mpack, head in others]

    assert run() == [bad, *thin]

    assert statuses(hub, bad, *thin) == [
        ("failed", 1, "COUNT_MISMATCH"),
        ("failed", 1, "OBJECT_NOT_HELD"),
        ("failed", 1, "OBJECT_NOT_HELD"),
    ]
    assert set(hub.counts().values()) == {0}


def test_a_batch_has_no_more_jobs_than_it_may(hub: Hub, run: Run) -> None:
    jobs = [hub.push(hub.create_repo(slug), EMPTY) for slug in "abcde"]

    assert [run(batch_jobs=2) for _ in range(4)] == [jobs[:2], jobs[2:4], jobs[4:], []]

    assert [hub.job(job)["result"]["batch_jobs"] for job in jobs] == [2, 2, 2, 2, 1]


def test_the_times_of_the_jobs_are_shares_of_the_time_of_the_op(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    jobs = [hub.push(hub.create_repo(slug), chain(prefix=slug)[0][0]) for slug in "abc"]

    Runner(hub.settings, instance).run()

    results = [hub.job(job)["result"] for job in jobs]
    [dagster_run] = instance.get_runs()
    events = [log.dagster_event for log in instance.all_logs(dagster_run.run_id)]
    taken = [
        event.step_success_data.duration_ms
        for event in events
        if event and event.event_type == dg.DagsterEventType.STEP_SUCCESS
    ]
    for key, of_the_op in zip(TIMINGS, taken[1:-1], strict=True):
        assert all(result[key] > 0 for result in results)
        assert sum(result[key] for result in results) <= of_the_op + 1  # it has no fractions
    for result in results:
        assert sum(result[key] for key in TIMINGS) <= result["elapsed_ms"]
    # So the slowest job is the slowest, whoever else was in its batch.
    shared = [r["elapsed_ms"] - sum(r[key] for key in TIMINGS) for r in results]
    assert max(shared) - min(shared) < 0.01
    assert sum(r["elapsed_ms"] for r in results) <= max(r["batch_elapsed_ms"] for r in results)


@pytest.mark.usefixtures("_either_way")
def test_one_mpack_for_two_repos_and_twice_for_one_is_stored_once(hub: Hub, run: Run) -> None:
    one, other = hub.create_repo("one"), hub.create_repo("other", owner="bob")
    jobs = [hub.push(repo_id, MPACK, head=LAST) for repo_id in (one, other, one)]

    run()

    assert statuses(hub, *jobs) == [("done", 1, None)] * 3
    results = [hub.job(job)["result"] for job in jobs]
    sums = {
        name: sum(result[name] for result in results)
        for name in ("objects_put", "object_bytes_put", "objects_inserted", "commits_inserted")
    }
    assert sums == {
        "objects_put": 14,
        "object_bytes_put": 14 * 128,
        "objects_inserted": 14,
        "commits_inserted": 8,
    }
    assert [result["object_refs_inserted"] for result in results] == [14, 14, 0]
    assert [result["head_moved"] for result in results] == [True, True, False]
    for repo_id in (one, other):
        assert_index_holds(hub, repo_id, HISTORY)


def test_two_branches_of_a_repo_move_in_one_batch(hub: Hub, run: Run) -> None:
    repo_id = hub.create_repo()
    jobs = [hub.push(repo_id, MPACK, head=FIRST, branch="old"), hub.push(repo_id, EMPTY, head=LAST)]

    run()

    assert statuses(hub, *jobs) == [("done", 1, None)] * 2
    assert (hub.head(repo_id), hub.head(repo_id, "old")) == (LAST, FIRST)


def test_after_the_last_attempt_the_job_fails_with_the_last_reason(hub: Hub, run: Run) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)

    for _ in range(2):
        run(max_attempts=2, storage_url="file:///no/such/folder")
        make_due(hub)

    row = hub.job(job_id)
    assert statuses(hub, job_id) == [("failed", 2, "STORAGE_UNAVAILABLE")]
    assert "/no/such/folder" in row["error"]
    assert row["finished_at"] >= row["started_at"]
    assert run() == []


@pytest.mark.parametrize("mpack", [MPACK, NOT_MSGPACK], ids=["good", "bad"])
def test_no_scratch_outlives_the_run(hub: Hub, run: Run, mpack: bytes) -> None:
    hub.push(hub.create_repo(), mpack)

    run()

    scratch = hub.settings.home / "scratch"
    assert [path for path in scratch.rglob("*") if path.name != "lock"] == []
