"""Parts of a repository: some of its branches, or only what the hub does not hold."""

from pathlib import Path

from musehub_pipeline.client.pack import pack
from musehub_pipeline_tests.client.repository import Git, muse_commit, muse_id, muse_object, read


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
    assert packed("HEAD") == (["detached", "detached"], ["detached"])
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
        "skipped_paths": {},
        "skipped_paths_count": 0,
        "skipped_branches": {},
        "skipped_branches_count": 0,
        "skipped_submodules": 0,
        "truncated_merges": 0,
    }
