"""Where a branch may move: forward, over whatever lies between, or anywhere by force."""

import time
from typing import Any

import pytest

from musehub_pipeline.domain.commit import decode_commit, row_of
from musehub_pipeline.domain.errors import Fault
from musehub_pipeline.index.index import Index
from musehub_pipeline.phases import unpack as module
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.fetch_mpack import fetch_mpack
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.phases.unpack import unpack
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.factories import History, pack
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_batch

HELD, SUPPLIED = "held", "supplied"


class Repo:
    """A repo whose history grows: some of it is held by the hub, some comes with the push."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.repo_id = hub.create_repo()
        self.history = History()
        self.held = History()

    def commit(self, name: str, *parents: str) -> str:
        return self.history.commit({"name": name.encode()}, parents=parents, message=name)

    def hold(self, head: str) -> None:
        """Have the hub hold all commits that there are so far, and the branch stand at `head`."""
        packed = [pack(commit) for commit in self.history.commits.values()]
        rows = [row_of(decode_commit(raw), raw) for raw in packed]
        with Database(str(self.hub.settings.database_url)) as database, Index(database) as index:
            index.insert_commits(self.repo_id, [rows])
        self.hub.sql(
            "INSERT INTO musehub_branches VALUES (%(r)s, 'main', %(c)s)",
            {"r": self.repo_id, "c": f"sha256:{head[-64:]}"},
        )
        self.held = self.history.copy()

    def push(self, head: str | None, *, force: bool = False, mpack: bytes | None = None) -> None:
        """Push what the hub does not hold."""
        mpack = mpack or self.history.mpack(without=self.held)
        self.hub.push(self.repo_id, mpack, head=head, force=force)

    def judged(self) -> list[str | None]:
        """Judge what has been pushed; return for each job the old head, or why it is refused."""
        with open_services(self.hub.settings) as services:
            batch = claim_jobs(services, run_id="run")
            batch = unpack(fetch_mpack(batch, services), services)
        return [
            str(item.error.code) if item.error else item.contents and item.contents.old_head
            for item in batch.items
        ]


@pytest.fixture
def repo(hub: Hub) -> Repo:
    return Repo(hub)


def test_the_first_head_of_a_branch_may_be_any_commit(repo: Repo) -> None:
    root = repo.commit("root")
    repo.commit("tip", root)
    repo.push(root)

    assert repo.judged() == [None]


def test_a_push_without_a_head_is_judged_against_none(repo: Repo) -> None:
    root = repo.commit("root")
    repo.hold(root)
    repo.commit("tip", root)
    repo.push(None)

    assert repo.judged() == [None]


def test_a_head_may_move_over_commits_of_the_mpack(repo: Repo) -> None:
    root = repo.commit("root")
    repo.hold(root)
    repo.push(repo.commit("c", repo.commit("b", repo.commit("a", root))))

    assert repo.judged() == [root]


def test_a_head_may_move_over_commits_that_the_hub_holds(repo: Repo) -> None:
    root = repo.commit("root")
    tip = repo.commit("b", repo.commit("a", root))
    repo.hold(root)
    repo.push(tip, mpack=pack({}))

    assert repo.judged() == [root]


def test_a_head_may_move_over_both(repo: Repo) -> None:
    root = repo.commit("root")
    held = repo.commit("b", repo.commit("a", root))
    repo.hold(root)
    repo.push(repo.commit("d", repo.commit("c", held)))

    assert repo.judged() == [root]


def test_a_head_may_move_over_both_and_both_again(repo: Repo) -> None:
    """A commit of the mpack may be one that the hub holds already, with parents it only holds."""
    root = repo.commit("root")
    middle = repo.commit("b", repo.commit("a", root))
    repo.hold(root)
    tip = repo.commit("c", middle)
    commits = [repo.history.commits[each] for each in (tip, middle)]
    repo.push(tip, mpack=repo.history.mpack(commits=commits))

    assert repo.judged() == [root]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("where", [HELD, SUPPLIED])
def test_a_head_may_move_to_a_merge_over_either_parent(repo: Repo, first: bool, where: str) -> None:
    old = repo.commit("old")
    other = repo.commit("other")
    if where == HELD:
        side = repo.commit("side", old)
        repo.hold(old)
    else:
        repo.hold(old)
        side = repo.commit("side", old)
    parents = (side, other) if first else (other, side)
    repo.push(repo.commit("merge", *parents))

    assert repo.judged() == [old]


def test_a_head_may_stay_where_it_is(repo: Repo) -> None:
    root = repo.commit("root")
    repo.hold(root)
    repo.push(root, mpack=pack({}))
    repo.push(root, mpack=repo.history.mpack())

    assert repo.judged() == [root, root]


@pytest.mark.parametrize("where", [HELD, SUPPLIED])
def test_a_step_back_is_refused_unless_it_is_forced(repo: Repo, where: str) -> None:
    root = repo.commit("root")
    tip = repo.commit("tip", root)
    repo.hold(tip)
    mpack = pack({}) if where == HELD else repo.history.mpack()
    repo.push(root, mpack=mpack)
    assert repo.judged() == ["NON_FAST_FORWARD"]
    repo.hub.sql("DELETE FROM musehub_background_jobs")

    repo.push(root, mpack=mpack, force=True)

    assert repo.judged() == [tip]


@pytest.mark.parametrize("where", [HELD, SUPPLIED])
def test_another_line_is_refused_unless_it_is_forced(repo: Repo, where: str) -> None:
    root = repo.commit("root")
    tip = repo.commit("tip", root)
    if where == HELD:
        other = repo.commit("other", root)
        repo.hold(tip)
    else:
        repo.hold(tip)
        other = repo.commit("other", root)
    repo.push(other)
    assert repo.judged() == ["NON_FAST_FORWARD"]
    repo.hub.sql("DELETE FROM musehub_background_jobs")

    repo.push(other, force=True)

    assert repo.judged() == [tip]


def test_a_forced_push_is_not_forced_over_one_that_overtook_it_since_it_was_claimed(
    repo: Repo,
) -> None:
    """As where it is tried again while a backfill publishes a later one."""
    hub = repo.hub
    repo.push(repo.commit("early"), force=True)
    with open_services(hub.settings) as services:
        batch = fetch_mpack(claim_jobs(services, run_id="run"), services)
        late = repo.commit("late")
        repo.push(late)
        hub.sql("UPDATE musehub_background_jobs SET status = 'done' WHERE status = 'pending'")
        repo.hold(late)

        [judged] = unpack(batch, services).items

    assert judged.error is not None
    assert judged.error.code == Fault.NON_FAST_FORWARD


def test_a_history_that_has_nothing_in_common_is_refused(repo: Repo) -> None:
    old = repo.commit("old")
    repo.hold(old)
    repo.push(repo.commit("tip", repo.commit("another root")))

    assert repo.judged() == ["NON_FAST_FORWARD"]


def test_an_ancestor_that_only_another_repo_has_does_not_count(hub: Hub, repo: Repo) -> None:
    root = repo.commit("root")
    tip = repo.commit("tip", root)
    repo.hold(tip)
    fork = hub.create_repo("fork")
    hub.sql("INSERT INTO musehub_branches VALUES (%(r)s, 'main', %(c)s)", {"r": fork, "c": tip})
    own = History()
    head = own.commit({"name": b"own"})
    hub.push(fork, own.mpack(), head=head)

    assert repo.judged() == ["NON_FAST_FORWARD"]


@pytest.mark.parametrize("force", [False, True])
def test_a_head_that_nobody_supplied_is_unknown_even_by_force(repo: Repo, force: bool) -> None:
    root = repo.commit("root")
    repo.hold(root)
    repo.push("sha256:" + "f" * 64, force=force, mpack=pack({}))

    assert repo.judged() == ["HEAD_UNKNOWN"]


def test_a_head_of_another_repo_is_unknown(hub: Hub, repo: Repo) -> None:
    root = repo.commit("root")
    repo.hold(root)
    hub.push(hub.create_repo("fork"), pack({}), head=root)

    assert repo.judged() == ["HEAD_UNKNOWN"]


def test_another_branch_is_another_matter(hub: Hub, repo: Repo) -> None:
    root = repo.commit("root")
    repo.hold(repo.commit("tip", root))
    hub.push(repo.repo_id, pack({}), head=root, branch="old-songs")

    assert repo.judged() == [None]


def test_the_spelling_of_the_client_does_not_matter(repo: Repo) -> None:
    repo.history.prefix = ""
    root = repo.commit("root")
    tip = repo.commit("tip", root)
    repo.hold(root)
    repo.push(tip, mpack=pack({}))

    assert repo.judged() == [f"sha256:{root}"]


def test_pushes_of_one_batch_are_judged_one_after_the_other(repo: Repo) -> None:
    root = repo.commit("root")
    repo.hold(root)
    first = repo.commit("first", root)
    repo.push(first)
    repo.held = repo.history.copy()
    second = repo.commit("second", first)
    repo.push(second)
    repo.push(first, mpack=pack({}))
    repo.push(second, mpack=pack({}))

    assert repo.judged() == [root, first, "NON_FAST_FORWARD", second]


def test_a_repository_whose_history_is_walked_for_long_does_not_hold_up_a_batch(
    repo: Repo, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WALKED_SECONDS", 0.0)
    is_ancestor = Index.is_ancestor

    def walk_for_long(*ends: Any) -> bool:
        time.sleep(0.5)  # longer than it takes to fetch them
        return is_ancestor(*ends)

    monkeypatch.setattr(Index, "is_ancestor", walk_for_long)
    root = repo.commit("root")
    repo.hold(repo.commit("head", root))
    for number in range(3):
        fork = repo.held.copy()
        head = fork.commit({"name": b"fork"}, parents=[root], message=f"{number}")
        hub.push(repo.repo_id, fork.mpack(without=repo.held), head=head)
    neighbour = History()
    head = neighbour.commit({"name": b"neighbour"})
    hub.push(hub.create_repo("neighbour"), neighbour.mpack(), head=head)

    standing: list[list[tuple[str, int]]] = []
    for number in range(3):
        index_batch(hub, run_id=f"run {number}")
        rows = hub.sql("SELECT status, attempt FROM musehub_background_jobs ORDER BY created_at")
        standing.append([(row["status"], row["attempt"]) for row in rows])

    refused, waits, done = ("failed", 1), ("pending", 0), ("done", 1)
    assert standing == [
        [refused, waits, waits, done],
        [refused, refused, waits, done],
        [refused, refused, refused, done],
    ]
