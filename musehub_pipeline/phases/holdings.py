"""What a repo holds: what is stored, and what earlier jobs of the same batch supply to it."""

from collections.abc import Collection, Mapping

from musehub_pipeline.domain.inventory import Inventory
from musehub_pipeline.domain.job import Job
from musehub_pipeline.domain.mpack import Kind
from musehub_pipeline.index.index import Index

Parents = Mapping[bytes, tuple[bytes, ...]]


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

    def held(self, kind: Kind, digests: Collection[bytes]) -> set[bytes]:
        """Return those of `digests` that the repo holds."""
        ahead = self._ahead[kind].intersection(digests)
        return ahead | self._index.held(kind, self.repo_id, set(digests) - ahead)

    def object_sizes(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Return the sizes in bytes of those that are stored, whoever holds them."""
        ahead = {digest: self._sizes[digest] for digest in digests if digest in self._sizes}
        return ahead | self._index.object_sizes(set(digests) - ahead.keys())

    def head(self, branch: str) -> str | None:
        """Return the commit id at which a branch stands; None where it has none."""
        return self._heads.get(branch) or self._index.branch_head(self.repo_id, branch) or None

    def descends(self, commit: bytes, ancestor: bytes, parents: Parents) -> bool:
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
                known = parents.get(digest, self._parents.get(digest))
                if known is None:
                    stored.add(digest)
                else:
                    reached.extend(known)
        return bool(stored) and self._index.is_ancestor(self.repo_id, ancestor, stored)

    def supply(self, job: Job, inventory: Inventory) -> None:
        """Count on what a job brings."""
        self._ahead["object"].update(inventory.objects.digests())
        self._sizes.update((place.digest, place.size) for place in inventory.objects)
        self._ahead["snapshot"].update(inventory.snapshots.digests())
        self._ahead["commit"].update(inventory.parents)
        self._parents |= inventory.parents
        if job.head is not None and job.branch is not None:
            self._heads[job.branch] = job.head
