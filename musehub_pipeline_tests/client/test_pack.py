"""What `pack` makes of real git repositories, byte for byte where it can be said."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack
import pytest

from musehub_pipeline.client.git import GitError
from musehub_pipeline.client.mpack_writer import MpackWriter
from musehub_pipeline.client.pack import PackReport, pack

DATE = "2024-05-01T12:00:00+02:00"
AUTHOR = "Ada Lovelace <ada@example.org>"
SIGNATURE = b"Ada Lovelace <ada@example.org> 1714557600 +0200"  # AUTHOR at DATE
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2024-05-01T11:00:00+02:00",
    "GIT_COMMITTER_NAME": "Charles Babbage",
    "GIT_COMMITTER_EMAIL": "charles@example.org",
    "GIT_COMMITTER_DATE": DATE,
}


class Git:
    """A repository, written by the git command."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        path.mkdir()
        self("init", "--quiet", "--initial-branch=main", f"--object-format={object_format}")

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, **environment},
            check=True,
        )
        return done.stdout.decode().strip()

    def commit(self, message: str, files: Mapping[str, bytes], *, date: str = DATE) -> str:
        for path, content in files.items():
            file = self.path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self("add", "--all")
        self(
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            message,
            environment={"GIT_COMMITTER_DATE": date},
        )
        return self("rev-parse", "HEAD")

    def merge(self, *branches: str) -> str:
        self("merge", "--quiet", "--no-ff", "--message", "merge", *branches)
        return self("rev-parse", "HEAD")

    def import_commit(self, *changes: bytes, branch: bytes = b"main") -> str:
        """Commit what no file system may hold, the way `git fast-import` spells it."""
        header = b"commit refs/heads/%s\ncommitter %s\ndata 3\nodd\n" % (branch, SIGNATURE)
        self(
            "fast-import", "--quiet", stdin=header + b"".join(change + b"\n" for change in changes)
        )
        return self("rev-parse", branch.decode())

    def store(self, kind: str, raw: bytes) -> str:
        return self("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=raw)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "repository")


@pytest.fixture
def mpack(tmp_path: Path) -> Path:
    return tmp_path / "history.mpack"


def muse_id(*fields: str | bytes) -> str:
    raw = b"\0".join(field if isinstance(field, bytes) else field.encode() for field in fields)
    return "sha256:" + sha256(raw).hexdigest()


def muse_object(content: bytes, path: str) -> dict[str, Any]:
    return {"object_id": muse_id(content), "path": path, "content": content}


def muse_snapshot(files: Mapping[str, bytes], created_at: str = DATE) -> dict[str, Any]:
    manifest = {path: muse_id(content) for path, content in sorted(files.items())}
    snapshot_id = muse_id(*(field for pair in manifest.items() for field in pair))
    return {"snapshot_id": snapshot_id, "manifest": manifest, "created_at": created_at}


def muse_commit(
    git_commit: str,
    message: str,
    files: Mapping[str, bytes],
    *,
    parents: Sequence[dict[str, Any]] = (),
    branch: str = "main",
    **overrides: Any,
) -> dict[str, Any]:
    parent_ids = [parent["commit_id"] for parent in parents]
    commit = {
        "commit_id": "",
        "branch": branch,
        "snapshot_id": muse_snapshot(files)["snapshot_id"],
        "message": message,
        "committed_at": DATE,
        "parent_commit_id": parent_ids[0] if parent_ids else None,
        "parent2_commit_id": parent_ids[1] if len(parent_ids) > 1 else None,
        "author": AUTHOR,
        "metadata": {"git_commit": git_commit},
        "structured_delta": None,
        "sem_ver_bump": "none",
        "breaking_changes": [],
        "agent_id": "",
        "model_id": "",
        "toolchain_id": "",
        "prompt_hash": "",
        "signature": "",
        "signer_key_id": "",
    } | overrides
    hashed = [commit[key] for key in ("snapshot_id", "message", "committed_at", "author")]
    return commit | {"commit_id": muse_id("\0".join(sorted(parent_ids)), *hashed)}


def read(mpack: Path) -> dict[str, Any]:
    return msgpack.unpackb(mpack.read_bytes())


def files_of(mpack: Path) -> list[dict[str, bytes]]:
    """Return the files of each snapshot, path → content."""
    content = {each["object_id"]: each["content"] for each in read(mpack)["objects"]}
    manifests = [snapshot["manifest"] for snapshot in read(mpack)["snapshots"]]
    return [{path: content[oid] for path, oid in manifest.items()} for manifest in manifests]


def test_a_history_with_a_merge_is_packed_whole(git: Git, mpack: Path) -> None:
    base = git.commit("base", {"song.txt": b"la"})
    git("checkout", "--quiet", "-b", "drums")
    drums = git.commit("add drums\n\nloud ones", {"band/drums.txt": b"boom"})
    git("checkout", "--quiet", "main")
    later = "2024-05-02T00:30:00-05:30"
    bass = git.commit("add bass", {"band/bass.txt": b"la"}, date=later)
    merge = git.merge("drums")

    report = pack(git.path, mpack)

    with_drums = {"song.txt": b"la", "band/drums.txt": b"boom"}
    with_bass = {"song.txt": b"la", "band/bass.txt": b"la"}
    muse_base = muse_commit(base, "base", {"song.txt": b"la"})
    muse_drums = muse_commit(drums, "add drums\n\nloud ones", with_drums, parents=[muse_base])
    muse_bass = muse_commit(bass, "add bass", with_bass, parents=[muse_base], committed_at=later)
    muse_merge = muse_commit(
        merge, "merge", with_drums | with_bass, parents=[muse_bass, muse_drums]
    )
    packed = read(mpack)
    packed["commits"].sort(key=lambda commit: commit["message"])
    packed["snapshots"].sort(key=lambda snapshot: sorted(snapshot["manifest"]))
    packed["objects"].sort(key=lambda each: each["content"])
    assert packed == {
        "commits": [muse_bass, muse_drums, muse_base, muse_merge],
        "snapshots": [
            muse_snapshot(with_bass | with_drums),
            muse_snapshot(with_bass, created_at=later),
            muse_snapshot(with_drums),
            muse_snapshot({"song.txt": b"la"}),
        ],
        "objects": [muse_object(b"boom", "band/drums.txt"), muse_object(b"la", "song.txt")],
        "tags": [],
        "branch_heads": {"main": muse_merge["commit_id"], "drums": muse_drums["commit_id"]},
    }
    assert report == PackReport(
        mpack_key=muse_id(mpack.read_bytes()),
        size_bytes=mpack.stat().st_size,
        commits=4,
        snapshots=4,
        objects=2,
        object_bytes=6,
        branch_heads=packed["branch_heads"],
        skipped_paths=(),
        skipped_paths_count=0,
        skipped_submodules=0,
        truncated_merges=0,
    )


def test_binary_empty_and_large_files_are_packed_as_they_are(git: Git, mpack: Path) -> None:
    sizes = (0, 255, 256, 65_535, 65_536)  # where msgpack changes its headers, too
    files = {f"{size}.bin": (b"\x00\xff\r\n" * size)[:size] for size in sizes}
    git.commit("bytes", {".gitattributes": b"* binary\n"} | files)

    report = pack(git.path, mpack)

    assert files_of(mpack) == [{".gitattributes": b"* binary\n"} | files]
    assert report.object_bytes == sum(sizes) + 9


def test_unicode_paths_messages_and_branches_survive(git: Git, mpack: Path) -> None:
    git("checkout", "--quiet", "-b", "größe/日本")
    files = {"日本/ünï — ☃.txt": b"snow", "z\U0001f3b5.txt": b"tune"}
    commit = git.commit("Füge ☃ hinzu", files)

    report = pack(git.path, mpack)

    muse = muse_commit(commit, "Füge ☃ hinzu", files, branch="größe/日本")
    assert read(mpack)["commits"] == [muse]
    assert files_of(mpack) == [files]
    assert report.branch_heads == {"größe/日本": muse["commit_id"]}


def test_an_old_encoding_is_decoded_and_absurd_dates_are_clamped(git: Git, mpack: Path) -> None:
    tree = git.store("tree", b"")
    headers = [
        b"author J\xfcrgen <j@x> 1 +0000\ncommitter A <a@b> 1714557600 +0200\nencoding ISO-8859-1",
        b"author J\xfcrgen <j@x> 1 +0000\ncommitter A <a@b> 1714557600 +518800\nencoding no-such",
        b"author <j@x> 1 +0000\ncommitter A <a@b> 99999999999999999 -1200\ngpgsig a\n encoding b",
        b"author nobody\ncommitter A <a@b>",
    ]
    for number, header in enumerate(headers):
        raw = b"tree %s\n%s\n\n\xfc\n" % (tree.encode(), header)
        git("update-ref", f"refs/heads/{number}", git.store("commit", raw))

    pack(git.path, mpack)

    fields = ("branch", "author", "committed_at", "message")
    assert sorted(tuple(map(commit.get, fields)) for commit in read(mpack)["commits"]) == [
        ("0", "Jürgen <j@x>", DATE, "ü"),
        ("1", "J\ufffdrgen <j@x>", "2024-05-01T10:00:00+00:00", "\ufffd"),
        ("2", "<j@x>", "9999-12-29T12:00:00-12:00", "\ufffd"),
        ("3", "nobody", "1970-01-01T00:00:00+00:00", "\ufffd"),
    ]


def test_paths_that_are_not_utf_8_are_skipped_and_reported(git: Git, mpack: Path) -> None:
    odd = [b'M 100644 inline "odd/\\%o.txt"\ndata 0\n' % byte for byte in range(0xC0, 0xD8)]
    commit = git.import_commit(*odd, b"M 100644 inline odd/fine.txt\ndata 4\nfine")

    report = pack(git.path, mpack)

    files = {"odd/fine.txt": b"fine"}
    assert read(mpack)["commits"] == [muse_commit(commit, "odd", files)]
    assert read(mpack)["snapshots"] == [muse_snapshot(files)]
    assert read(mpack)["objects"] == [muse_object(b"fine", "odd/fine.txt")]
    assert report.skipped_paths_count == 24
    assert report.skipped_paths == tuple(repr(b"odd/%c.txt" % byte) for byte in range(0xC0, 0xD4))


def test_a_symbolic_link_is_its_target_and_a_submodule_is_skipped(git: Git, mpack: Path) -> None:
    git.import_commit(
        b"M 100644 inline song.txt\ndata 2\nla",
        b"M 100755 inline play.sh\ndata 4\nplay",
        b"M 120000 inline latest\ndata 8\nsong.txt",
        b"M 160000 %s sub/module" % (b"1" * 40),
    )

    report = pack(git.path, mpack)

    assert files_of(mpack) == [{"latest": b"song.txt", "play.sh": b"play", "song.txt": b"la"}]
    assert (report.skipped_submodules, report.skipped_paths_count) == (1, 0)


def test_an_octopus_merge_keeps_two_parents_and_remembers_the_rest(git: Git, mpack: Path) -> None:
    base = git.commit("base", {})
    for name in ("one", "two", "three"):
        git("checkout", "--quiet", "-b", name, base)
        git.commit(name, {name: b""})
    git("checkout", "--quiet", "one")
    merge = git.merge("two", "three")

    report = pack(git.path, mpack, branches=["one"])

    by_message = {commit["message"]: commit for commit in read(mpack)["commits"]}
    assert by_message["merge"] == muse_commit(
        merge,
        "merge",
        {"one": b"", "two": b"", "three": b""},
        parents=[by_message["one"], by_message["two"]],
        branch="one",
        metadata={
            "git_commit": merge,
            "git_parents": [git("rev-parse", name) for name in ("one^1", "two", "three")],
        },
    )
    assert report.truncated_merges == 1


def test_commits_that_muse_cannot_tell_apart_are_one(git: Git, mpack: Path) -> None:
    git.commit("same", {"song.txt": b"la"})
    git("branch", "twin")
    git("commit", "--quiet", "--amend", "--no-edit", environment={"GIT_COMMITTER_NAME": "Nobody"})

    report = pack(git.path, mpack)

    assert git("rev-parse", "main") != git("rev-parse", "twin")
    assert (report.commits, report.snapshots, report.objects) == (1, 1, 1)
    assert report.branch_heads["main"] == report.branch_heads["twin"]


def test_only_the_branches_that_were_asked_for_are_packed(git: Git, mpack: Path) -> None:
    base = git.commit("base", {"song.txt": b"la"})
    git("checkout", "--quiet", "-b", "drums")
    drums = git.commit("drums", {"drums.txt": b"boom"})
    git("checkout", "--quiet", "main")
    muse_base = muse_commit(base, "base", {"song.txt": b"la"}, branch="drums")
    with_drums = {"song.txt": b"la", "drums.txt": b"boom"}
    muse_drums = muse_commit(drums, "drums", with_drums, branch="drums", parents=[muse_base])

    def packed(*branches: str) -> tuple[list[str], list[str]]:
        report = pack(git.path, mpack, branches=branches)
        return [commit["branch"] for commit in read(mpack)["commits"]], list(report.branch_heads)

    assert packed("main") == (["main"], ["main"])
    assert packed("drums", "main") == (["main", "drums"], ["main", "drums"])
    assert packed("HEAD") == (["main"], ["main"])
    git("checkout", "--quiet", "--detach", "drums")
    assert packed("HEAD") == (["HEAD", "HEAD"], ["HEAD"])
    assert packed("drums") == (["drums", "drums"], ["drums"])
    assert read(mpack)["commits"] == [muse_base, muse_drums]


def test_a_thin_pack_holds_only_what_is_new_and_names_what_is_not(git: Git, mpack: Path) -> None:
    git.commit("base", {"keep.txt": b"keep", "old.txt": b"old"})
    (git.path / "old.txt").unlink()
    git.commit("drop", {})
    git("tag", "pushed")
    git.commit("add", {"new.txt": b"new"})
    git.commit("restore", {"back.txt": b"old"})
    (git.path / "back.txt").unlink()
    (git.path / "new.txt").unlink()
    git.commit("revert", {})
    whole = mpack.with_name("whole.mpack")

    full_report = pack(git.path, whole)
    report = pack(git.path, mpack, have=["pushed", "pushed~1"])

    full, thin = read(whole), read(mpack)
    assert thin["commits"] == full["commits"][2:]
    assert thin["commits"][0]["parent_commit_id"] == full["commits"][1]["commit_id"]
    assert thin["snapshots"] == full["snapshots"][2:]  # "revert" has that of "drop"
    assert thin["objects"] == [muse_object(b"new", "new.txt")]
    assert report.branch_heads == full_report.branch_heads
    assert (report.commits, report.snapshots, report.objects) == (3, 2, 1)


def test_a_pack_with_nothing_new_is_valid_and_says_so(git: Git, mpack: Path) -> None:
    git.commit("base", {"song.txt": b"la"})
    head = pack(git.path, mpack).branch_heads

    report = pack(git.path, mpack, have=["main"])

    empty = {"commits": [], "snapshots": [], "objects": [], "tags": [], "branch_heads": head}
    assert read(mpack) == empty
    assert report.as_dict() == {
        "mpack_key": muse_id(mpack.read_bytes()),
        "size_bytes": mpack.stat().st_size,
        "commits": 0,
        "snapshots": 0,
        "objects": 0,
        "object_bytes": 0,
        "branch_heads": head,
        "skipped_paths": [],
        "skipped_paths_count": 0,
        "skipped_submodules": 0,
        "truncated_merges": 0,
    }


def test_every_id_of_a_long_history_can_be_recomputed(git: Git, mpack: Path) -> None:
    stream = b""
    for number in range(300):
        message, path, content = b"c%03d" % number, b"%d/%d" % (number % 7, number), b"%d" % number
        stream += b"commit refs/heads/main\ncommitter %s\ndata 4\n%s\n" % (SIGNATURE, message)
        stream += b"M 100644 inline %s\ndata %d\n%s\n" % (path, len(content), content)
    git("fast-import", "--quiet", stdin=stream)
    git_commits = git("rev-list", "--reverse", "main").split()
    progress: list[tuple[int, int]] = []

    pack(git.path, mpack, on_progress=lambda done, total: progress.append((done, total)))

    files: dict[str, bytes] = {}
    commits: list[dict[str, Any]] = []
    snapshots: list[dict[str, Any]] = []
    for number, git_commit in enumerate(git_commits):
        files[f"{number % 7}/{number}"] = str(number).encode()
        commits.append(muse_commit(git_commit, f"c{number:03}", files, parents=commits[-1:]))
        snapshots.append(muse_snapshot(files))
    assert read(mpack) == {
        "commits": commits,
        "snapshots": snapshots,
        "objects": [muse_object(content, path) for path, content in files.items()],
        "tags": [],
        "branch_heads": {"main": commits[-1]["commit_id"]},
    }
    assert progress == [(done, 300) for done in range(1, 301)]


def test_a_bare_clone_a_subfolder_and_a_worktree_give_the_same_mpack(
    git: Git, mpack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.commit("base", {"band/song.txt": b"la"})
    git.commit("more", {"band/song.txt": b"la la"})
    git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))
    git("replace", "main", "main~1")  # which git would show in place of main
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))  # as in a hook of another repository
    key = pack(git.path, mpack).mpack_key

    assert [commit["message"] for commit in read(mpack)["commits"]] == ["base", "more"]
    for place in (tmp_path / "bare", tmp_path / "worktree", git.path / "band"):
        assert pack(place, mpack).mpack_key == key


def test_a_shallow_clone_begins_with_a_root(git: Git, mpack: Path, tmp_path: Path) -> None:
    git.commit("base", {"song.txt": b"la"})
    head = git.commit("more", {"song.txt": b"la la"})
    shallow = tmp_path / "shallow"
    git("clone", "--quiet", "--depth=1", git.path.as_uri(), str(shallow))

    pack(shallow, mpack)

    assert read(mpack)["commits"] == [muse_commit(head, "more", {"song.txt": b"la la"})]


def test_a_repository_of_sha_256_gives_the_same_snapshots(mpack: Path, tmp_path: Path) -> None:
    git = Git(tmp_path / "sha256", object_format="sha256")
    commit = git.commit("base", {"band/song.txt": b"la"})

    pack(git.path, mpack)

    assert read(mpack)["commits"] == [muse_commit(commit, "base", {"band/song.txt": b"la"})]
    assert files_of(mpack) == [{"band/song.txt": b"la"}]


def test_what_cannot_be_packed_is_named_and_leaves_no_file(git: Git, mpack: Path) -> None:
    folder = mpack.with_name("folder")
    folder.mkdir()

    def refusal(path: Path, **options: Any) -> str:
        with pytest.raises(GitError) as caught:
            pack(path, mpack, **options)
        return str(caught.value)

    def object_file(revision: str) -> Path:
        oid = git("rev-parse", revision)
        return git.path / ".git/objects" / oid[:2] / oid[2:]

    assert refusal(folder).startswith(f"{folder} is not a git repository: ")
    assert refusal(folder / "no").startswith(f"{folder / 'no'} is not a git repository: ")
    assert refusal(git.path) == f"nothing to pack: no local branch with commits in {git.path}"
    assert refusal(git.path, branches=["HEAD"]) == f"no branch main with commits in {git.path}"
    git.commit("base", {"song.txt": b"la"})
    assert refusal(git.path, branches=["x"]) == f"no branch x with commits in {git.path}"
    assert refusal(git.path, branches=["main~0"]) == f"no branch main~0 with commits in {git.path}"
    assert refusal(git.path, have=["x"]) == f"no commit x in {git.path}"
    assert refusal(git.path, have=["main\nmain"]) == f"no commit main\nmain in {git.path}"
    blob = object_file("main:song.txt")
    blob.unlink()
    assert refusal(git.path) == (
        f"{git.path} lacks object {blob.parent.name}{blob.name}; is it a partial clone?"
    )
    assert sorted(mpack.parent.iterdir()) == [folder, git.path]


def test_a_machine_without_git_is_told_so(
    git: Git, mpack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(mpack.parent))

    with pytest.raises(GitError, match="git did not start"):
        pack(git.path, mpack)


def test_a_writer_that_does_not_finish_leaves_the_destination_alone(mpack: Path) -> None:
    mpack.write_bytes(b"before")

    with MpackWriter(mpack) as writer:
        writer.add_object(muse_id(b"la"), b"la")

    assert mpack.read_bytes() == b"before"
    assert list(mpack.parent.iterdir()) == [mpack]
