"""The pushes of a busy hub, of several kinds, and what has to become of each."""

import random
from collections import Counter
from dataclasses import dataclass

from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

_LARGE_BYTES = 1 << 20  # an hour of larger ones would fill the store
_LONGEST_CHAIN = 200
"""Commits of a repository, until another takes its place: a history is kept here whole."""


@dataclass
class _Chain:
    repo_id: str
    history: History
    head: str


class Pushes:
    """Pushes to a hub, one at a time, by the dice of a seed; it keeps what each has to end with."""

    def __init__(self, hub: Hub, *, repos: int, seed: int) -> None:
        self.kinds: Counter[str] = Counter()
        self._hub = hub
        self._dice = random.Random(seed)
        self._made = 0
        self._chains = [self._new_chain() for _ in range(repos)]
        self._codes: dict[str, str | None] = {}
        self._heads: dict[str, str] = {}
        self._kinds = {
            self._next_commit: 80,
            self._large_commit: 2,
            self._fork: 5,
            self._garbage: 8,
            self._stranger: 5,
        }

    def push(self) -> None:
        """Push something to some repository."""
        [kind] = self._dice.choices(list(self._kinds), list(self._kinds.values()))
        at = self._dice.randrange(len(self._chains))
        if len(self._chains[at].history.commits) >= _LONGEST_CHAIN:
            self._chains[at] = self._new_chain()
        kind(self._chains[at])
        self.kinds[kind.__name__.removeprefix("_")] += 1

    def mistakes(self) -> list[str]:
        """Return of all pushes how each ended otherwise than it had to, once all have ended."""
        rows = self._hub.sql(
            "SELECT job_id, status, error_code, error FROM musehub_background_jobs"
        )
        ended = {row["job_id"]: row for row in rows}
        wrong = [
            f"{job_id}: {row['status']} {row['error_code']} {row['error']}, not {code or 'done'}"
            for job_id, code in self._codes.items()
            if (row := ended[job_id])["error_code"] != code
            or row["status"] != ("failed" if code else "done")
        ]
        heads = {
            row["repo_id"]: row["head_commit_id"]
            for row in self._hub.sql("SELECT repo_id, head_commit_id FROM musehub_branches")
        }
        wrong += [
            f"{repo_id}: its head is {heads.get(repo_id)}, not {head}"
            for repo_id, head in self._heads.items()
            if heads.get(repo_id) != head
        ]
        return wrong

    def _new_chain(self) -> _Chain:
        self._made += 1
        repo_id = self._hub.create_repo(f"song-{self._made}", owner="soak")
        return _Chain(repo_id, History(), "")

    def _next_commit(self, chain: _Chain, content: bytes | None = None) -> None:
        before = chain.history.copy()
        number = len(before.commits)
        files = {
            f"src/{n}.txt": b"%d" % (number if n == number % 5 else -n) * 64 for n in range(20)
        }
        files["src/tune.bin"] = content or self._dice.randbytes(256)
        chain.head = chain.history.commit(
            files, parents=[chain.head] if chain.head else [], message=f"{number}"
        )
        self._enqueue(chain.repo_id, chain.history.mpack(without=before), head=chain.head)
        self._heads[chain.repo_id] = chain.head

    def _large_commit(self, chain: _Chain) -> None:
        self._next_commit(chain, self._dice.randbytes(_LARGE_BYTES))

    def _fork(self, chain: _Chain) -> None:
        """Push a whole history to a new repository."""
        if not chain.head:
            self._next_commit(chain)
        repo_id = self._new_chain().repo_id
        self._enqueue(repo_id, chain.history.mpack(), head=chain.head)
        self._heads[repo_id] = chain.head

    def _garbage(self, chain: _Chain) -> None:
        self._enqueue(chain.repo_id, b"\xc1" + self._dice.randbytes(64), code="MPACK_MALFORMED")

    def _stranger(self, chain: _Chain) -> None:
        """Push a history that has nothing to do with the branch."""
        history = History()
        head = history.commit({"tune": self._dice.randbytes(64)}, message="by a stranger")
        code = "NON_FAST_FORWARD" if chain.head else None
        self._enqueue(chain.repo_id, history.mpack(), head=head, code=code)
        if code is None:
            chain.history, chain.head = history, head
            self._heads[chain.repo_id] = head

    def _enqueue(
        self, repo_id: str, mpack: bytes, *, head: str | None = None, code: str | None = None
    ) -> None:
        self._codes[self._hub.push(repo_id, mpack, head=head)] = code
