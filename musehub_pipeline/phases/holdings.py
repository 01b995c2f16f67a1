"""What a repo holds: what is stored, and what earlier jobs of the same batch supply to it."""

from collections.abc import Collection

from musehub_pipeline.domain.ancestry import Ancestry
from musehub_pipeline.domain.job import Job
from musehub_pipeline.domain.mpack import Kind
from musehub_pipeline.index.index import Index
from musehub_pipeline.phases.batch import Contents


class Holdings:
    """What one repo holds, as far as the next job of the batch is concerned.

    A job whose earlier neighbour fails is put off, so what that one supplies may be counted on.
    """

    def __init__(self, repo_id: str, index: Index) -> None:
        self.repo_id = repo_id
        self._index = index
        self._ahead: dict[Kind, set[bytes]] = {"object": set(), "snapshot": set(), "commit": set()}
        self._sizes: dict[bytes, int] = {}
        self._parents: dict[bytes, tuple[bytes, ...]] = {}
        self._heads: dict[str, str] = {}  # branch → commit id
        # What jobs bring for which there is no room above, as it lies in memory anyway.
        self._contents: list[Contents] = []
        self._ancestries: list[Ancestry] = []

    def held(self, kind: Kind, digests: Collection[bytes]) -> set[bytes]:
        """Return those of `digests` that the repo holds."""
        ahead = self._ahead[kind].intersection(digests)
        for contents in self._contents:
            ahead.update(place.digest for place in contents.items(kind).among(digests))
        return ahead | self._index.held(kind, self.repo_id, set(digests) - ahead)

    def object_sizes(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Return the sizes in bytes of those that are stored, whoever holds them."""
        ahead = {digest: self._sizes[digest] for digest in digests if digest in self._sizes}
        for contents in self._contents:
            ahead |= {place.digest: place.size for place in contents.objects.among(digests)}
        return ahead | self._index.object_sizes(set(digests) - ahead.keys())

    def head(self, branch: str) -> str | None:
        """Return the commit id at which a branch stands; None where it has none."""
        return self._heads.get(branch) or self._index.branch_head(self.repo_id, branch) or None

    def descends(self, commit: bytes, ancestor: bytes, parents: Ancestry) -> bool:
        """Tell whether `ancestor` is reached from `commit`, over `parents` and what is held."""
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
        return bool(stored) and self._index.is_ancestor(self.repo_id, ancestor, stored)

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
