"""A git repository's history, packed: what Muse makes of git's commits, trees and blobs.

Which commits, snapshots and objects go into an mpack, and what they are called there, belongs here.
How git is read and how the file is laid out does not.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from musehub_pipeline.client.git import GitRepository
from musehub_pipeline.client.git_objects import EntryKind, GitCommit, GitError, TreeEntry
from musehub_pipeline.client.mpack_writer import MpackWriter
from musehub_pipeline.domain import ids
from musehub_pipeline.domain.job import MAX_BRANCH_BYTES
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.names import PathFault, branch_fault, path_fault

_DETACHED = "detached"  # what HEAD is packed as where it names no branch
_LONGEST = Limits().path_characters  # the hub's may be another
_MAX_DEPTH = 400  # of folders; git itself stops at some thousands, Python's stack before that
_CACHED_PATHS = 500_000  # about 100 MB

# What a git commit does not know, as a Muse client would leave it.
_UNKNOWN = {
    "structured_delta": None,
    "sem_ver_bump": "none",
    "breaking_changes": [],
    "agent_id": "",
    "model_id": "",
    "toolchain_id": "",
    "prompt_hash": "",
    "signature": "",
    "signer_key_id": "",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PackReport:
    """What became of a repository's history in one mpack."""

    mpack_key: str
    size_bytes: int
    commits: int
    snapshots: int
    objects: int
    object_bytes: int
    branch_heads: dict[str, str]  # the current branch first
    skipped_paths: dict[str, str]  # repr() of each path that no mpack may hold, and why
    skipped_branches: dict[str, str]  # the same of branches
    skipped_submodules: int  # different paths
    truncated_merges: int  # octopus merges, of which two parents were kept

    def as_dict(self) -> dict[str, object]:
        """Return the report, JSON-ready."""
        return {
            **asdict(self),
            "skipped_paths_count": len(self.skipped_paths),
            "skipped_branches_count": len(self.skipped_branches),
        }


def pack(
    repository: Path,
    destination: Path,
    *,
    branches: Sequence[str] | None = None,
    have: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack what the branches of a git repository reach and `have` does not into an mpack.

    The ids of a commit's ancestors go into its own, so the history of `have` is walked and hashed
    too, though not written. The same history has the same ids from every clone that is not shallow.

    Args:
        repository: A work tree, a bare repository, or a folder inside of one.
        destination: Where to write the mpack; replaced whole, or left alone on failure.
        branches: Names of local branches, or `HEAD`; all local branches by default.
        have: Git revisions that the hub holds, with all that they reach.
        on_progress: Called after each commit with how many of how many are walked.

    Raises:
        GitError: The repository, a branch or a revision cannot be read.
    """
    with GitRepository(repository) as git, MpackWriter(destination) as writer:
        heads, skipped_branches = _select_branches(git, branches)
        names, tips = list(heads), list(heads.values())
        bases = [git.find_commit(revision) for revision in have]
        history = git.history([*bases, *tips])
        held = _reached(history, bases)
        reached = _reached(history, tips)
        packing = _Packing(git, writer)
        # All that is held comes first: only then is it known what is new.
        walk = sorted(history, key=lambda oid: oid not in held)
        for done, (oid, commit) in enumerate(git.commits(walk), start=1):
            packing.writing = oid not in held
            branch = names[reached.get(oid, 0)]
            packing.add(oid, commit, parents=history[oid], branch=branch)
            if on_progress is not None:
                on_progress(done, len(walk))
        branch_heads = {name: packing.commit_ids[oid] for name, oid in heads.items()}
        mpack_key, size_bytes = writer.finish(branch_heads=branch_heads)
    return PackReport(
        mpack_key=mpack_key,
        size_bytes=size_bytes,
        commits=writer.commits,
        snapshots=writer.snapshots,
        objects=writer.objects,
        object_bytes=writer.object_bytes,
        branch_heads=branch_heads,
        skipped_paths=packing.skipped,
        skipped_branches=skipped_branches,
        skipped_submodules=len(packing.submodules),
        truncated_merges=packing.truncated_merges,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitFields:
    """What a Muse commit's id is made of."""

    parents: tuple[str, ...]
    snapshot_id: str
    message: str
    committed_at: str
    author: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """All that lies under a folder, by its path from the root."""

    manifest: dict[str, str]
    skipped: dict[str, str]  # as shown, and why
    submodules: list[bytes]


class _Packing:
    """Turns git's objects into Muse's, each of them once; what was `writing` is in the mpack."""

    def __init__(self, git: GitRepository, writer: MpackWriter) -> None:
        self.writing = False
        self.commit_ids: dict[str, str] = {}  # by git commit
        self.skipped: dict[str, str] = {}
        self.submodules: dict[bytes, None] = {}
        self.truncated_merges = 0
        self._git = git
        self._writer = writer
        self._known: set[str] = set()  # commits and snapshots
        self._snapshot_ids: dict[str, str] = {}  # by git tree
        self._object_ids: dict[bytes, str] = {}  # by git blob
        self._cache = _FolderCache()

    def add(self, oid: str, commit: GitCommit, *, parents: Sequence[str], branch: str) -> None:
        """Add a commit, after all of its parents, and what it is the first to need."""
        # Two git commits that differ only in what Muse does not hash are one Muse commit.
        all_parents = list(dict.fromkeys(self.commit_ids[parent] for parent in parents))
        hashed = CommitFields(
            parents=tuple(all_parents[:2]),
            snapshot_id=self._snapshot_id(commit),
            message=commit.message,
            committed_at=commit.committed_at,
            author=commit.author,
        )
        commit_id = self.commit_ids[oid] = ids.PREFIX + ids.commit_hex(hashed)
        if not self._is_new(commit_id):
            return
        metadata: dict[str, object] = {"git_commit": oid}
        if len(all_parents) > len(hashed.parents):
            metadata["git_parents"] = list(parents)
            self.truncated_merges += 1
        parent_id, parent2_id = (*hashed.parents, None, None)[:2]
        self._writer.add_commit(
            {
                "commit_id": commit_id,
                "branch": branch,
                "snapshot_id": hashed.snapshot_id,
                "message": hashed.message,
                "committed_at": hashed.committed_at,
                "parent_commit_id": parent_id,
                "parent2_commit_id": parent2_id,
                "author": hashed.author,
                "metadata": metadata,
                **_UNKNOWN,
            }
        )

    def _snapshot_id(self, commit: GitCommit) -> str:
        if known := self._snapshot_ids.get(commit.tree):
            return known
        files = self._files(commit.tree, b"")
        snapshot_id = ids.PREFIX + ids.snapshot_hex(files.manifest)
        self._snapshot_ids[commit.tree] = snapshot_id
        if self.writing:
            self.skipped |= files.skipped
            self.submodules |= dict.fromkeys(files.submodules)
        if self._is_new(snapshot_id):
            snapshot = {"snapshot_id": snapshot_id, "manifest": files.manifest}
            self._writer.add_snapshot({**snapshot, "created_at": commit.committed_at})
        return snapshot_id

    def _is_new(self, any_id: str) -> bool:
        """Tell whether this commit or snapshot is to be written, and never say so again."""
        if any_id in self._known:
            return False
        self._known.add(any_id)
        return self.writing

    def _files(self, tree: str, folder: bytes) -> _Files:
        """Return all that lies under a git tree that stands at `folder`, a path that ends in /."""
        if cached := self._cache.get((folder, tree)):
            return cached
        if folder.count(b"/") > _MAX_DEPTH:
            raise GitError(f"folders are nested too deeply in {self._git.path}: {folder[:80]!r}...")
        folders, files = self._own_files(self._git.tree(tree), folder)
        for path, oid in folders.items():
            below = self._files(oid, path + b"/")
            files.manifest.update(below.manifest)
            files.skipped.update(below.skipped)
            files.submodules.extend(below.submodules)
        if folder:  # a root is asked for once only
            self._cache.put((folder, tree), files)
        return files

    def _own_files(
        self, entries: Sequence[TreeEntry], folder: bytes
    ) -> tuple[dict[bytes, str], _Files]:
        """Return the folders in a git tree, by path, and what lies in it beside them."""
        folders: dict[bytes, str] = {}
        blobs: dict[bytes, bytes] = {}
        files = _Files(manifest={}, skipped={}, submodules=[])
        # Folders come first: of a file and a folder of one name, the folder is packed.
        for kind, name, oid in sorted(entries, key=lambda entry: entry.kind is not EntryKind.TREE):
            path = folder + name
            if kind is EntryKind.SUBMODULE:
                files.submodules.append(path)
            elif why := _why_not(path, name, is_taken=path in folders or path in blobs):
                files.skipped[_shown(path)] = why
            elif kind is EntryKind.TREE:
                folders[path] = oid.hex()
            else:
                blobs[path] = oid
        self._add_new_blobs(blobs)
        for path, oid in blobs.items():
            files.manifest[path.decode()] = self._object_ids[oid]
        return folders, files

    def _add_new_blobs(self, blobs: Mapping[bytes, bytes]) -> None:
        new: dict[bytes, bytes] = {}
        for path, oid in blobs.items():
            if oid not in self._object_ids:
                new.setdefault(oid, path)
        contents = self._git.contents([oid.hex() for oid in new])
        for oid, path in new.items():
            self._add_blob(oid, path.decode(), next(contents))  # no name holds it for longer

    def _add_blob(self, oid: bytes, path: str, content: bytes) -> None:
        object_id = self._object_ids[oid] = ids.object_id(content)
        if self.writing:
            self._writer.add_object(object_id, content, path)


class _FolderCache:
    """The folders that were used last, as many as have `_CACHED_PATHS` paths in them."""

    def __init__(self) -> None:
        self._paths = 0
        self._folders: OrderedDict[tuple[bytes, str], _Files] = OrderedDict()

    def get(self, key: tuple[bytes, str]) -> _Files | None:
        files = self._folders.get(key)
        if files is not None:
            self._folders.move_to_end(key)
        return files

    def put(self, key: tuple[bytes, str], files: _Files) -> None:
        self._folders[key] = files
        self._paths += 1 + len(files.manifest)
        while self._paths > _CACHED_PATHS:
            _, dropped = self._folders.popitem(last=False)
            self._paths -= 1 + len(dropped.manifest)


def _why_not(path: bytes, name: bytes, *, is_taken: bool) -> str | None:
    """Return why no mpack may hold a path, at the end of which is the name of a tree's entry.

    Git itself writes no name that is taken or has a slash, but it reads them.
    """
    if is_taken:
        return f"{PathFault.DUPLICATE_ENTRIES}, another in its folder has this name"
    if b"/" in name:
        return f"{PathFault.FULL_PATHNAME}, its name has a slash"
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    if fault := path_fault(text):
        return f"{fault}, {fault.meaning}"
    return f"longer than {_LONGEST} characters" if len(text) > _LONGEST else None


def _shown(path: bytes) -> str:
    try:
        return repr(path.decode())
    except UnicodeDecodeError:
        return repr(path)


def _select_branches(
    git: GitRepository, names: Sequence[str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the heads of the branches that were asked for, the current one first.

    And those that no hub takes, as shown, with why.
    """
    heads, current = git.branches(), git.current_branch()
    if names is None:
        names = list(heads)
    head = current or _DETACHED
    if current is None and "HEAD" in names:
        while head in heads:
            head += "-head"
        heads[head] = git.find_commit("HEAD")
    wanted = [head if name == "HEAD" else name for name in names]
    for name in wanted:
        if name not in heads:
            raise GitError(f"no branch {name} with commits in {git.path}")
    skipped = {name: why for name in wanted if (why := _why_no_branch(name))}
    packed = [name for name in wanted if name not in skipped]
    if not packed:
        raise GitError(f"nothing to pack: no local branch with commits in {git.path}")
    ordered = sorted(packed, key=lambda name: name != current)
    return {name: heads[name] for name in ordered}, {repr(n): why for n, why in skipped.items()}


def _why_no_branch(name: str) -> str | None:
    too_long = len(name.encode()) > MAX_BRANCH_BYTES
    return f"longer than {MAX_BRANCH_BYTES} bytes" if too_long else branch_fault(name)


def _reached(history: dict[str, tuple[str, ...]], tips: Sequence[str]) -> dict[str, int]:
    """Return each commit that a tip reaches, with the index of the first tip that does."""
    first: dict[str, int] = {}
    for index, oid in enumerate(tips):
        first.setdefault(oid, index)
    for oid in reversed(history):  # children first
        if (index := first.get(oid)) is not None:
            for parent in history[oid]:
                first[parent] = min(index, first.get(parent, index))
    return first
