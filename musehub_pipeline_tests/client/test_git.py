"""Repositories of every kind are read, and what cannot be read is named."""

from pathlib import Path
from typing import Any

import pytest

from musehub_pipeline.client.git import GitError
from musehub_pipeline.client.pack import pack
from musehub_pipeline_tests.client.repository import Git, files_of, muse_commit, read


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
