"""Judge whole mpacks. Nothing is written before this, and what comes after may trust its input."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.hashing import ContentVerifier
from musehub_pipeline.domain.ids import digest_of, id_of
from musehub_pipeline.domain.inventory import Inventory
from musehub_pipeline.domain.job import Job
from musehub_pipeline.domain.mpack import read_mpack
from musehub_pipeline.phases.batch import Batch, Contents, Item, Services, each_job
from musehub_pipeline.storage.index import Index, Kind
from musehub_pipeline.storage.scratch import ScratchFile

_NAMED_IN_MESSAGE = 3


@dataclass(kw_only=True)
class _Ahead:
    """What earlier jobs of the batch supply to a repo: held, as far as a later one is concerned."""

    held: dict[Kind, set[bytes]] = field(
        default_factory=lambda: {"object": set(), "snapshot": set(), "commit": set()}
    )
    parents: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)  # branch → commit id


def unpack(batch: Batch, services: Services) -> Batch:
    """Read every mpack once, verify every hash, and check that all it names is supplied or held."""
    ahead: dict[str, _Ahead] = {}
    repo_ids = [item.claim.repo_id for item in batch.live]

    def judge(item: Item) -> Item:
        job, mpack, repo_id = item.job, item.mpack, item.claim.repo_id
        if job is None or mpack is None:
            raise RuntimeError(f"job {item.claim.job_id} has not been fetched")
        earlier = ahead.setdefault(repo_id, _Ahead())
        inventory = _read(mpack, services)
        _check_count(job, inventory)
        _check_references(inventory, repo_id, earlier, services.index)
        old_head = _judge_head(job, inventory, repo_id, earlier, services.index)
        if repo_ids.count(repo_id) > 1:
            _supply(earlier, job, inventory)
        contents = Contents(
            objects=inventory.objects.sorted_unique(),
            snapshots=inventory.snapshots.sorted_unique(),
            commits=inventory.commits.sorted_unique(),
            objects_total=inventory.counts.get("objects", 0),
            unverified_ids=inventory.unverified_ids,
            old_head=old_head,
        )
        return replace(item, contents=contents)

    return each_job(batch, "unpack", judge)


def _read(mpack: ScratchFile, services: Services) -> Inventory:
    with ContentVerifier(mpack) as verifier:
        inventory = Inventory(
            verifier=verifier,
            verify_ids=services.policy.id_policy == "verify",
            max_named_objects=services.policy.limits.objects,
        )
        read_mpack(mpack, inventory, limits=services.policy.limits)
        verifier.finish()
    return inventory


def _check_count(job: Job, inventory: Inventory) -> None:
    declared, actual = job.declared_objects_count, inventory.counts.get("objects", 0)
    if declared is not None and declared != actual:
        raise Rejection(
            Fault.COUNT_MISMATCH, f"{declared} objects are declared, the mpack holds {actual}"
        )


def _check_references(inventory: Inventory, repo_id: str, earlier: _Ahead, index: Index) -> None:
    """Check leaves before roots that what is named is in the mpack, or held by this very repo.

    Never because another repo holds it: knowing a hash is no right to read what it stands for.
    """

    def check(kind: Kind, named: set[bytes], supplied: set[bytes], fault: Fault) -> None:
        absent = named - supplied - earlier.held[kind]
        absent -= index.held(kind, repo_id, absent)
        if absent:
            some = ", ".join(id_of(digest) for digest in sorted(absent)[:_NAMED_IN_MESSAGE])
            more = "" if len(absent) <= _NAMED_IN_MESSAGE else ", …"
            raise Rejection(
                fault,
                f"{len(absent)} named, but neither in the mpack nor held by repository"
                f" {repo_id!r}: {some}{more}",
                item=f"{kind}s",
            )

    objects = set(inventory.objects.digests())
    check("object", inventory.named_objects, objects, Fault.OBJECT_NOT_HELD)
    snapshots = set(inventory.snapshots.digests())
    check("snapshot", inventory.named_snapshots, snapshots, Fault.SNAPSHOT_NOT_HELD)
    parents = {parent for parents in inventory.parents.values() for parent in parents}
    check("commit", parents, set(inventory.parents), Fault.PARENT_NOT_HELD)


def _judge_head(
    job: Job, inventory: Inventory, repo_id: str, earlier: _Ahead, index: Index
) -> str | None:
    """Check that the branch may move to the job's head; return where it stands now."""
    if job.head is None or job.branch is None:
        return None
    head = digest_of(job.head)
    supplied = head in inventory.parents or head in earlier.held["commit"]
    if not supplied and not index.held("commit", repo_id, {head}):
        raise Rejection(
            Fault.HEAD_UNKNOWN, f"{job.head} is neither in the mpack nor in the repository"
        )
    old = earlier.heads.get(job.branch) or index.branch_head(repo_id, job.branch) or None
    if old is not None and not job.force:
        # What is stored counts, not what the push says of it; likewise what an earlier push said.
        held = index.held("commit", repo_id, set(inventory.parents))
        new = {d: parents for d, parents in inventory.parents.items() if d not in held}
        parents = new | earlier.parents
        outside = partial(index.is_ancestor, repo_id, digest_of(old))
        if not _descends(head, digest_of(old), parents, outside):
            raise Rejection(
                Fault.NON_FAST_FORWARD,
                f"branch {job.branch!r} is at {old}, which is no ancestor of {job.head}",
            )
    return old


def _descends(
    commit: bytes,
    ancestor: bytes,
    parents: dict[bytes, tuple[bytes, ...]],
    outside: Callable[[set[bytes]], bool],
) -> bool:
    """Tell whether `ancestor` is reached from `commit`; `outside` answers for stored commits."""
    seen: set[bytes] = set()
    stored: set[bytes] = set()
    reached = [commit]
    while reached:
        digest = reached.pop()
        if digest == ancestor:
            return True
        if digest not in seen:
            seen.add(digest)
            if digest in parents:
                reached.extend(parents[digest])
            else:
                stored.add(digest)
    return bool(stored) and outside(stored)


def _supply(earlier: _Ahead, job: Job, inventory: Inventory) -> None:
    earlier.held["object"].update(inventory.objects.digests())
    earlier.held["snapshot"].update(inventory.snapshots.digests())
    earlier.held["commit"].update(inventory.parents)
    earlier.parents = inventory.parents | earlier.parents
    if job.head is not None and job.branch is not None:
        earlier.heads[job.branch] = job.head
