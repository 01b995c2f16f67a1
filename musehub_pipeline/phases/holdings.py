"""What a repo holds: what is stored, and what earlier jobs of the same batch supply to it."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Self

from musehub_pipeline.domain.ancestry import Ancestry
from musehub_pipeline.domain.commit import decode_commit
from musehub_pipeline.domain.errors import JobError
from musehub_pipeline.domain.ids import digest_of, is_id
from musehub_pipeline.domain.job import Job
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.mpack import Kind, Source, read_mpack
from musehub_pipeline.domain.snapshot import decode_snapshot
from musehub_pipeline.index.index import Index
from musehub_pipeline.phases.batch import Contents, Item

_SMALL_BYTES = 64 << 10
_FORESEEN_BYTES = 4 << 20

_log = logging.getLogger("musehub_pipeline.phases")

Digests = defaultdict[str, set[bytes]]
"""By repo."""


class Stored:
    """What the index has, for the jobs of a batch: see `foresee`."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._asked: dict[Kind, Digests] = _none_of_each()
        self._held: dict[Kind, Digests] = _none_of_each()
        self._sizes: dict[bytes, int | None] = {}
        self._heads: dict[tuple[str, str], str | None] = {}

    @classmethod
    def foresee(cls, index: Index, items: Sequence[Item], *, limits: Limits) -> Self:
        """Read what small mpacks hold and name, before they are judged, and ask for all of it.

        Whatever is not asked here is asked later, job by job. For fifty tiny pushes, that would be
        fifty times as many statements, and take most of their time.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        stored = cls(index)
        for item in _small(items):
            if item.job is not None and item.mpack is not None:
                # Ignored here: the judge meets the same error, and reports it.
                with suppress(Exception):
                    stored._expect(item.claim.repo_id, item.job, item.mpack, limits)
        try:
            stored._ask()
        except JobError:
            raise
        except Exception:
            _log.warning("what a batch leans on is asked for job by job", exc_info=True)
            return cls(index)
        return stored

    def _ask(self) -> None:
        for kind, by_repo in self._asked.items():
            for repo_id, digest in self._index.held_together(kind, by_repo):
                self._held[kind][repo_id].add(digest)
        self._sizes |= self._index.object_sizes(self._sizes.keys())
        self._heads |= self._index.branch_heads(self._heads.keys())

    def _expect(self, repo_id: str, job: Job, mpack: Source, limits: Limits) -> None:
        if job.branch is not None and job.head is not None:
            self._heads[repo_id, job.branch] = None
            self._asked["commit"][repo_id].add(digest_of(job.head))
        for kind, items in read_mpack(mpack, limits=limits):
            asked = self._asked[kind][repo_id]
            for _, place, raw in items:
                asked.add(place.digest)
                if kind == "commit":
                    asked.update(_digests(decode_commit(raw).parents))
                elif kind == "snapshot":
                    for portion in decode_snapshot(raw).manifest.portions():
                        self._asked["object"][repo_id].update(_digests(portion.values()))
                else:
                    self._sizes[place.digest] = None

    def held(self, kind: Kind, repo_id: str, digests: set[bytes]) -> set[bytes]:
        """Return those of `digests` that the repo holds."""
        if (asked := self._asked[kind].get(repo_id)) is None:
            return self._index.held(kind, repo_id, digests)
        known = self._held[kind][repo_id] & digests
        return known | self._index.held(kind, repo_id, digests - asked)

    def object_sizes(self, digests: set[bytes]) -> dict[bytes, int]:
        """Return the sizes in bytes of those objects that have a row, whoever holds them."""
        unknown = digests - self._sizes.keys()
        known = {digest: self._sizes[digest] for digest in digests - unknown}
        sizes = {digest: size for digest, size in known.items() if size is not None}
        return sizes | self._index.object_sizes(unknown)

    def branch_head(self, repo_id: str, branch: str) -> str | None:
        """Return the commit id at which a branch stands; None where it has none."""
        if (repo_id, branch) in self._heads:
            return self._heads[repo_id, branch]
        return self._index.branch_heads([(repo_id, branch)]).get((repo_id, branch))

    def is_ancestor(self, repo_id: str, ancestor: bytes, descendants: Collection[bytes]) -> bool:
        """Tell whether a commit is one of `descendants`, or reached from them over parents."""
        return self._index.is_ancestor(repo_id, ancestor, descendants)


def _digests(named: Iterable[str]) -> Iterator[bytes]:
    """Yield the digests of what are ids; nothing has been checked yet."""
    return map(digest_of, filter(is_id, named))


def _none_of_each() -> dict[Kind, Digests]:
    return {"object": Digests(set), "snapshot": Digests(set), "commit": Digests(set)}


def _small(items: Sequence[Item]) -> list[Item]:
    """Return the items with small mpacks, as many as are worth it; none where there is only one."""
    small: list[Item] = []
    room = _FORESEEN_BYTES
    for item in items:
        if item.mpack is not None and item.mpack.size <= min(room, _SMALL_BYTES):
            small.append(item)
            room -= item.mpack.size
    return small if len(small) > 1 else []


class Holdings:
    """What one repo holds, as far as the next job of the batch is concerned.

    A job whose earlier neighbour fails is put off, so what that one supplies may be counted on.
    """

    def __init__(self, repo_id: str, stored: Stored) -> None:
        self.repo_id = repo_id
        self.walked_seconds = 0.0
        self._stored = stored
        self._ahead: dict[Kind, set[bytes]] = {"object": set(), "snapshot": set(), "commit": set()}
        self._sizes: dict[bytes, int] = {}
        self._parents: dict[bytes, tuple[bytes, ...]] = {}
        self._heads: dict[str, str] = {}  # branch → commit id
        # Of jobs that are too large for the sets above; these tables are in memory anyway.
        self._contents: list[Contents] = []
        self._ancestries: list[Ancestry] = []

    def held(self, kind: Kind, digests: Collection[bytes]) -> set[bytes]:
        """Return those of `digests` that the repo holds."""
        ahead = self._ahead[kind].intersection(digests)
        for contents in self._contents:
            ahead.update(place.digest for place in contents.items(kind).among(digests))
        return ahead | self._stored.held(kind, self.repo_id, set(digests) - ahead)

    def object_sizes(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Return the sizes in bytes of those that are stored, whoever holds them."""
        ahead = {digest: self._sizes[digest] for digest in digests if digest in self._sizes}
        for contents in self._contents:
            ahead |= {place.digest: place.size for place in contents.objects.among(digests)}
        return ahead | self._stored.object_sizes(set(digests) - ahead.keys())

    def head(self, branch: str) -> str | None:
        """Return the commit id at which a branch stands; None where it has none."""
        return self._heads.get(branch) or self._stored.branch_head(self.repo_id, branch) or None

    def descends(self, commit: bytes, ancestor: bytes, parents: Ancestry) -> bool:
        """Tell whether `ancestor` is reached from `commit`, over `parents` and what is held.

        How long that takes is added to `walked_seconds`.
        """
        started = monotonic()
        try:
            return self._reaches(commit, ancestor, parents)
        finally:
            self.walked_seconds += monotonic() - started

    def _reaches(self, commit: bytes, ancestor: bytes, parents: Ancestry) -> bool:
        seen: set[bytes] = set()
        stored: set[bytes] = set()
        reached = [commit]
        while reached:
            digest = reached.pop()
            if digest == ancestor:
                return True
            if digest not in seen:
                seen.add(digest)
                known = self._parents_of(digest, parents)
                if known is None:
                    stored.add(digest)
                else:
                    reached.extend(known)
        return bool(stored) and self._stored.is_ancestor(self.repo_id, ancestor, stored)

    def supply(self, job: Job, contents: Contents, parents: Ancestry, *, compact: bool) -> None:
        """Count on what a job brings; `compact` is slower, and takes no memory but for parents."""
        if compact:
            self._contents.append(contents)
            self._ancestries.append(parents)
        else:
            for kind, ahead in self._ahead.items():
                ahead.update(contents.items(kind).digests())
            self._sizes.update((place.digest, place.size) for place in contents.objects)
            for commit, known in parents:
                self._parents.setdefault(commit, known)
        if job.head is not None and job.branch is not None:
            self._heads[job.branch] = job.head

    def _parents_of(self, commit: bytes, parents: Ancestry) -> tuple[bytes, ...] | None:
        for ancestry in (parents, *self._ancestries):
            if (known := ancestry.parents_of(commit)) is not None:
                return known
        return self._parents.get(commit)
