"""`pack`: what it prints, where it writes, and what it refuses."""

from hashlib import sha256
from pathlib import Path

import pytest

from musehub_pipeline.client.push import outline
from musehub_pipeline.domain.names import PathFault
from musehub_pipeline_tests.cli.terminal import Git, call


def key_of(path: Path) -> str:
    return f"sha256:{sha256(path.read_bytes()).hexdigest()}"


def test_the_json_tells_all_about_the_mpack(git: Git, tmp_path: Path) -> None:
    mpack = tmp_path / "some.mpack"

    finished = call("pack", git.path, "-o", mpack, "--json")

    [head] = outline(mpack).branch_heads.values()
    assert finished.json == {
        "path": str(mpack),
        "mpack_key": key_of(mpack),
        "size_bytes": mpack.stat().st_size,
        "commits": 2,
        "snapshots": 2,
        "objects": 3,
        "object_bytes": 3,
        "branch_heads": {"main": head},
        "skipped_paths": {},
        "skipped_paths_count": 0,
        "skipped_branches": {},
        "skipped_branches_count": 0,
        "skipped_submodules": 0,
        "truncated_merges": 0,
    }


def test_without_an_output_it_writes_a_file_named_for_the_repository(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    finished = call("pack", "song")

    assert finished.code == 0
    assert "song.mpack" in finished.out
    assert key_of(tmp_path / "song.mpack")[:40] in finished.out


def test_without_arguments_it_packs_the_current_folder(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(git.path)

    assert call("pack", "--json").json["path"] == "song.mpack"
    assert (git.path / "song.mpack").is_file()


def test_every_branch_is_packed_unless_some_are_named(git: Git, tmp_path: Path) -> None:
    for branch in ("side", "third"):
        git("branch", branch)
    mpack = tmp_path / "some.mpack"

    every = call("pack", git.path, "-o", mpack, "--json").json["branch_heads"]
    some = call("pack", git.path, "-o", mpack, "-b", "side", "--branch", "main", "--json").json

    head = every["main"]
    assert every == {"main": head, "side": head, "third": head}
    assert some["branch_heads"] == {"main": head, "side": head}


def test_have_makes_it_thin(git: Git, tmp_path: Path) -> None:
    mpack = tmp_path / "some.mpack"

    report = call("pack", git.path, "-o", mpack, "--have", "HEAD~1", "--json").json
    nothing = call(
        "pack", git.path, "-o", mpack, "--have", "HEAD~1", "--have", "main", "--json"
    ).json

    counts = ("commits", "snapshots", "objects")
    assert [report[name] for name in counts] == [1, 1, 1]
    assert [nothing[name] for name in counts] == [0, 0, 0]
    assert nothing["branch_heads"] == report["branch_heads"]


def test_each_name_that_the_pipeline_would_refuse_is_told_in_a_line(
    git: Git, tmp_path: Path
) -> None:
    git.add_odd_path(rb"a/.git:\033[31m")
    git("update-ref", "refs/heads/ma\u202ein", "HEAD")
    mpack = tmp_path / "some.mpack"

    told = call("pack", git.path, "-o", mpack)
    scripted = call("pack", git.path, "-o", mpack, "--json")

    assert told.err.splitlines()[-2:] == [
        rf"skipped 'a/.git:\x1b[31m': hasDotgit, {PathFault.HAS_DOTGIT.meaning}",
        r"skipped branch 'ma\u202ein': it holds what turns the direction of text",
    ]
    assert told.err.splitlines()[-2:] == scripted.err.splitlines()[-2:]
    assert "skipped_paths_count" in told.out
    assert (scripted.json["skipped_paths_count"], scripted.json["skipped_branches_count"]) == (1, 1)
    assert list(scripted.json["branch_heads"]) == ["main"]


@pytest.mark.parametrize("path", [rb"caf\351", rb"[bold]\351", rb"a[/b]\351"])
def test_a_path_that_is_not_utf8_is_reported_as_it_is(
    git: Git, tmp_path: Path, path: bytes
) -> None:
    git.add_odd_path(path)

    finished = call("pack", git.path, "-o", tmp_path / "some.mpack")

    shown = repr(path.replace(rb"\351", b"\xe9"))
    assert finished.code == 0
    assert finished.err.splitlines()[-1] == f"skipped {shown}: not UTF-8"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["empty"], "not a git repository"),
        (["song", "--branch", "none"], "no branch none"),
        (["song", "--have", "0" * 40], f"no commit {'0' * 40}"),
    ],
)
def test_what_cannot_be_packed_is_an_error_that_names_it(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    finished = call("pack", *arguments, "-o", "some.mpack", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.splitlines()[-1].startswith("error: ")
    assert named in finished.err
    assert not (tmp_path / "some.mpack").exists()


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(git: Git, tmp_path: Path) -> None:
    finished = call("pack", git.path, "-o", tmp_path / "none" / "some.mpack")

    assert finished.code == 1
    assert finished.err.splitlines()[-1].startswith("error: ")
    assert str(tmp_path / "none") in finished.err
