"""Judge whole mpacks. Nothing is written before this, and what comes after may trust its input."""

from dataclasses import replace
from heapq import nsmallest
from itertools import chain
from typing import NamedTuple

from musehub_pipeline.domain.digests import DigestSet, HasDigests
from musehub_pipeline.domain.errors import Deferral, Fault, Rejection, Trouble
from musehub_pipeline.domain.hashing import verify_contents
from musehub_pipeline.domain.ids import digest_of, id_of
from musehub_pipeline.domain.inventory import Inventory
from musehub_pipeline.domain.job import Job
from musehub_pipeline.domain.limits import MEMORY_GROWTH, Limits
from musehub_pipeline.domain.mpack import Chunk, Kind, Source, read_mpack
from musehub_pipeline.domain.places import Places
from musehub_pipeline.phases.batch import Batch, Contents, Item
from musehub_pipeline.phases.each_job import each_job, put_back_late
from musehub_pipeline.phases.holdings import Holdings, Stored
from musehub_pipeline.phases.services import WorkServices
from musehub_pipeline.postgres.blips import through_blips
from musehub_pipeline.queue.lease import Lease

_NAMED_IN_MESSAGE = 3
# Of a batch, for one repository: pushes that do not descend from the head walk long histories. As
# long as it took to fetch the batch, if that is more: what is put back has to be fetched again.
_WALKED_SECONDS = 5.0
# How many rows of earlier jobs are kept in sets (200 bytes each) for later jobs of their repos.
_MOST_IN_SETS = 200_000
_MOST_IN_SETS_EACH = 5_000
# Tables may take this many times their size: the blocks that they outgrew are not reused.
_TABLES_GROWTH = 1.25


def unpack(batch: Batch, services: WorkServices) -> Batch:
    """Read every mpack once, verify every hash, and check that all it names is supplied or held.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    repos: dict[str, Holdings] = {}
    repo_ids = [item.claim.repo_id for item in batch.live]
    mpack_keys = {item.job.mpack_key for item in batch.live if item.job}
    verified = through_blips(services.index.verified, mpack_keys)
    limits = services.settings.limits
    stored = through_blips(Stored.foresee, services.index, batch.live, limits=limits)
    room, supplied = Room(limits.objects, limits.batch_memory_bytes), 0
    fetched_ms = sum(item.timings.get("fetch_mpack_ms", 0.0) for item in batch.live)
    patience = max(_WALKED_SECONDS, fetched_ms / 1e3)

    def judge(item: Item) -> Item:
        job, mpack, repo_id = item.job, item.mpack, item.claim.repo_id
        if job is None or mpack is None:
            raise RuntimeError(f"job {item.claim.job_id} has not been fetched")
        nonlocal room, supplied
        repo = repos.setdefault(repo_id, Holdings(repo_id, stored))
        inventory = take_inventory(
            mpack,
            repo,
            verified=job.mpack_key in verified,
            pass_over=item.lease.passes_over,
            verify_ids=services.settings.id_policy == "verify",
            limits=limits,
            # Batches of jobs that are indexed again were planned by rows: none is put off.
            room=room if room.rows < limits.objects and item.lease.holds_repo else None,
        )
        verified.add(job.mpack_key)
        _check_count(job, inventory)
        _check_references(inventory, repo)
        old_head = _judge_head(item.lease, job, inventory, repo, patience=patience)
        contents = _contents(inventory, old_head)
        room = room.without(contents.rows, contents.size_bytes)
        if repo_ids.count(repo_id) > 1:
            compact = contents.rows > _MOST_IN_SETS_EACH or supplied > _MOST_IN_SETS
            supplied += 0 if compact else contents.rows
            repo.supply(job, contents, inventory.parents, compact=compact)
            room = room.without(0, inventory.parents.size_bytes)
        return replace(item, contents=contents)

    return put_back_late(each_job(batch, "unpack", judge))


class Room(NamedTuple):
    """What there is left in a batch for the next job."""

    rows: int
    memory_bytes: int

    def without(self, rows: int, memory_bytes: int) -> "Room":
        """Return what is left of it."""
        return Room(max(0, self.rows - rows), self.memory_bytes - memory_bytes)


def take_inventory(
    mpack: Source,
    repo: Holdings,
    *,
    verified: bool,
    pass_over: bool,
    verify_ids: bool,
    limits: Limits,
    room: Room | None = None,
) -> Inventory:
    """Read an mpack and check each of its items; return what it holds and leans on.

    If the mpack was `verified` before, its contents are not hashed again. Without `pass_over`, held
    items are checked and listed like new ones.

    Raises:
        Rejection: with the item that is at fault.
        Deferral: OVER_BATCH, where there is no `room` for what is new, or for what is judged.
    """
    inventory = Inventory(verify_ids=verify_ids, limits=limits)
    memory_bytes = limits.mpack_memory_bytes if room is None else room.memory_bytes
    surely_fits = MEMORY_GROWTH * mpack.size <= memory_bytes  # small items grow less
    for chunk in read_mpack(mpack, limits=limits):
        if not surely_fits:
            _check_memory(inventory, chunk, limits=limits, room=room)
        kind, items = chunk
        digests = {item.place.digest for item in items}
        if kind == "object":
            if not verified:
                verify_contents(mpack, items)
            held, sizes = repo.held(kind, digests), repo.object_sizes(digests)
            inventory.add_objects(items, held=held, proven=held if pass_over else (), sizes=sizes)
        else:
            add = inventory.add_snapshots if kind == "snapshot" else inventory.add_commits
            add(items, held=repo.held(kind, digests) if pass_over else ())
        del chunk, items  # before more of them are read
        if room is not None and inventory.new_items > room.rows:
            raise Deferral(Trouble.OVER_BATCH, f"the batch has room for {room.rows} more rows")
    inventory.check_named()
    if inventory.unverified_ids:  # they prove no parents; of held commits, the stored ones count
        held = repo.held("commit", set(inventory.parents.digests()))
        inventory.parents = inventory.parents.without(held)
        inventory.held_commits.update(held)
    return inventory


def _check_memory(inventory: Inventory, chunk: Chunk, *, limits: Limits, room: Room | None) -> None:
    """Check before a chunk is judged that memory suffices for it and for the tables so far.

    Only the last item of a chunk may be large.
    """
    largest = len(chunk.items[-1].raw)
    needed = round(_TABLES_GROWTH * inventory.size_bytes) + MEMORY_GROWTH * largest
    if room is not None and needed > room.memory_bytes:
        raise Deferral(Trouble.OVER_BATCH, f"the batch has no room for {needed} more bytes")
    if needed > (most := limits.mpack_memory_bytes):
        raise Rejection(
            Fault.LIMIT_EXCEEDED,
            f"all that is known of it takes more than {most} bytes: push it in parts",
            item="mpack",
        )


def _contents(inventory: Inventory, old_head: str | None) -> Contents:
    """Return what is new. Each source table is cleared once it is copied, to avoid holding both."""
    objects_total = len(inventory.objects)

    def taken(table: Places, *, marked: bool = False) -> Places:
        unique = table.sorted_unique(marked=marked)
        table.clear()
        return unique

    return Contents(
        snapshots=taken(inventory.snapshots),
        commits=taken(inventory.commits),
        objects=taken(inventory.objects, marked=True),
        objects_total=objects_total,
        unverified_ids=inventory.unverified_ids,
        old_head=old_head,
    )


def _check_count(job: Job, inventory: Inventory) -> None:
    declared, actual = job.declared_objects_count, len(inventory.objects)
    if declared is not None and declared != actual:
        raise Rejection(
            Fault.COUNT_MISMATCH, f"{declared} objects are declared, the mpack holds {actual}"
        )


def _check_references(inventory: Inventory, repo: Holdings) -> None:
    """Check leaves before roots that what is named is in the mpack, or held by this very repo.

    Never because another repo holds it: knowing a hash is no right to read what it stands for.
    What has been found is let go: it may be as much as all the rest.
    """
    inventory.forget_recent()

    def check(kind: Kind, named: DigestSet, *supplied: HasDigests, fault: Fault) -> None:
        count, some = 0, list[bytes]()
        for portion in named.absent_from(*supplied):
            absent = portion - repo.held(kind, portion)
            count += len(absent)
            some = nsmallest(_NAMED_IN_MESSAGE, chain(some, absent))
        if count:
            more = ", …" if count > len(some) else ""
            raise Rejection(
                fault,
                f"{count} named, but neither in the mpack nor held by repository"
                f" {repo.repo_id!r}: {', '.join(map(id_of, some))}{more}",
                item=f"{kind}s",
            )

    check("object", inventory.named_objects, inventory.objects, fault=Fault.OBJECT_NOT_HELD)
    inventory.named_objects = DigestSet()
    snapshots = inventory.snapshots, inventory.held_snapshots
    check("snapshot", inventory.named_snapshots, *snapshots, fault=Fault.SNAPSHOT_NOT_HELD)
    inventory.named_snapshots = DigestSet()
    parents = DigestSet(inventory.parents.parents())
    commits = inventory.parents, inventory.held_commits
    check("commit", parents, *commits, fault=Fault.PARENT_NOT_HELD)


def _judge_head(
    lease: Lease, job: Job, inventory: Inventory, repo: Holdings, *, patience: float
) -> str | None:
    """Check that the branch may move to the job's head; return where it stands now."""
    if job.head is None or job.branch is None:
        return None
    head = digest_of(job.head)
    if inventory.parents.parents_of(head) is None and not repo.held("commit", {head}):
        raise Rejection(
            Fault.HEAD_UNKNOWN, f"{job.head} is neither in the mpack nor in the repository"
        )
    # Whoever moves the branch after this look is noticed when the job is published.
    old = repo.head(job.branch)
    if old is None:
        return None
    if lease.holds_repo and repo.walked_seconds > patience:
        walked = f"the repository's history was walked for {repo.walked_seconds:.0f} s already"
        raise Deferral(Trouble.OVER_BATCH, walked)
    if repo.descends(head, digest_of(old), inventory.parents):
        return old
    # It may have been tried again by hand, long after others pushed to the branch.
    if job.force and not lease.overtaken(job.branch):
        return old
    raise Rejection(
        Fault.NON_FAST_FORWARD,
        f"branch {job.branch!r} is at {old}, which is no ancestor of {job.head}",
    )
