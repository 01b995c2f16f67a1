"""What `pack` makes of real git repositories, byte for byte where it can be said."""

from pathlib import Path
from typing import Any

import pytest

from musehub_pipeline.client.git_objects import GitError
from musehub_pipeline.client.pack import PackReport, pack
from musehub_pipeline_tests.client.repository import (
    DATE,
    SIGNATURE,
    Git,
    files_of,
    muse_commit,
    muse_id,
    muse_object,
    muse_snapshot,
    read,
)


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
        skipped_paths={},
        skipped_branches={},
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
    names = [repr(b"odd/%c.txt" % byte) for byte in range(0xC0, 0xD8)]
    assert report.skipped_paths == dict.fromkeys(names, "not UTF-8")


def test_paths_that_the_pipeline_refuses_are_skipped_and_told_with_their_rule(
    git: Git, mpack: Path
) -> None:
    blob = bytes.fromhex(git.store("blob", b"odd"))

    def tree(*entries: tuple[bytes, bytes, bytes]) -> bytes:
        raw = b"".join(b"%s %s\0%s" % entry for entry in entries)
        return bytes.fromhex(git.store("tree", raw))

    def file(name: bytes) -> tuple[bytes, bytes, bytes]:
        return b"100644", name, blob

    def folder(name: bytes, *names: bytes) -> tuple[bytes, bytes, bytes]:
        return b"40000", name, tree(*map(file, names))

    root = tree(
        *map(file, (b".GIT", b"..", b"a", b"git~1", b"x/y", b"x\\..\\y", b"\n\x1b", b"z" * 4097)),
        *(folder(b".git", b"config"), folder(b"a", b"b", b"c"), folder(b"b", b"twice", b"twice")),
        folder(b"c", b".muse", b"."),
    )
    header = b"committer A <a@b> 1714557600 +0200"
    raw = b"tree %s\nauthor A <a@b> 1 +0000\n%s\n\nodd" % (root.hex().encode(), header)
    git("update-ref", "refs/heads/main", git.store("commit", raw))

    report = pack(git.path, mpack)

    assert [set(files) for files in files_of(mpack)] == [{"\n\x1b", "a/b", "a/c", "b/twice"}]
    assert report.objects == 1
    assert {path: why.partition(",")[0] for path, why in report.skipped_paths.items()} == {
        "'.GIT'": "hasDotgit",
        "'..'": "hasDotdot",
        "'a'": "duplicateEntries",
        "'git~1'": "hasDotgit",
        "'x/y'": "fullPathname",
        r"'x\\..\\y'": "hasDotdot",
        repr("z" * 4097): "longer than 4096 characters",
        "'.git'": "hasDotgit",
        "'b/twice'": "duplicateEntries",
        "'c/.muse'": "hasDotmuse",
        "'c/.'": "hasDot",
    }


def test_branches_that_the_pipeline_refuses_are_skipped_with_all_that_only_they_reach(
    git: Git, mpack: Path
) -> None:
    git.commit("base", {"song.txt": b"la"})
    git("checkout", "--quiet", "-b", "a\u202eb")
    git.commit("aside", {"aside.txt": b"la la"})
    long = "/".join(["x" * 127] * 2)
    for name in (long, long + "x"):
        git("branch", name, "main")

    report = pack(git.path, mpack)

    assert set(report.branch_heads) == {"main", long}
    assert report.skipped_branches == {
        r"'a\u202eb'": "it holds what turns the direction of text",
        repr(long + "x"): "longer than 255 bytes",
    }
    assert report.commits == 1
    with pytest.raises(GitError):
        pack(git.path, mpack, branches=["HEAD"])


def test_a_symbolic_link_is_its_target_and_a_submodule_is_skipped(git: Git, mpack: Path) -> None:
    git.import_commit(
        b"M 100644 inline song.txt\ndata 2\nla",
        b"M 100755 inline play.sh\ndata 4\nplay",
        b"M 120000 inline latest\ndata 8\nsong.txt",
        b"M 160000 %s sub/module" % (b"1" * 40),
    )

    report = pack(git.path, mpack)

    assert files_of(mpack) == [{"latest": b"song.txt", "play.sh": b"play", "song.txt": b"la"}]
    assert (report.skipped_submodules, report.skipped_paths) == (1, {})


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
