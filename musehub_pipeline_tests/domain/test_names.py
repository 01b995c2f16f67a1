"""Names at the edges of their rules, and judged by git itself."""

import os
import subprocess
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.names import Manifests, PathFault, branch_fault, path_fault

LONGEST = 4096
UNSEEN = ["\u200c", "\u200f", "\u202a", "\u202e", "\u206a", "\u206f", "\ufeff"]
SEEN = ["\u200b", "\u2010", "\u2029", "\u202f", "\u2069", "\u2070", "\ufefe", "\u0301"]

REFUSED = {
    "emptyName": ["", "a/", "a//b", "a/b/", "a\\//b"],
    "fullPathname": ["/", "/a", "//a", "\\", "\\a", "\\\\a\\b", "/../a"],
    "hasDot": [".", "./a", "a/.", "a/./b", ".\\a", "a\\.", "a\\./b"],
    "hasDotdot": ["..", "../a", "a/..", "a/../b", "..\\a", "a\\..", "a\\../b"],
    "hasDotgit": [
        *(".git", ".GIT", ".gIt/config", "a/.git", "a/.git/b", "a\\.git", "a\\.git\\b"),
        *("git~1", "GIT~1", "a/Git~1/b", "a\\git~1", "git~1 ", "git~1.", "git~1:x"),
        *(".git ", ".git.", ".git . .", ".git:", ".git::$INDEX_ALLOCATION/x", ".git .:x"),
        *("a/.git /b", "a/.git\\b"),
        *(f"a/.g{unseen}it/b" for unseen in UNSEEN),
        *("\u200c.git", ".git\ufeff", ".\u200d\u200eG\u206bI\u202cT"),
    ],
    "hasDotmuse": [
        *(".muse", ".MUSE", ".mUsE/head", "a/.muse", "a\\.muse\\b", ".mu\u017fe", ".MU\u017fE/a"),
        *("muse~1", "MUSE~1/a", "mu\u017fe~1", ".muse ", ".muse.", ".muse:x", "muse~1 ."),
        *(f".mu{unseen}se" for unseen in UNSEEN),
    ],
}  # fmt: skip
ALLOWED = [
    *("a", "a/b", "a.b", "...", "a/...", "....", ".a", "..a", "a/..a", "a..", "a/b..", "a.", "a "),
    *(" ", "a b/ c", "a\nb", "\n", "\t", "\x01", "a\x7f", "a\x1b[31m", "~", "-", "--", "*"),
    *('"', "'", "a\u202eb", "\U0001f3b5"),
    *("a\\", '"\\', "a\\\\b", "a/\\b", "a\\/b", "a/b\\"),
    *(".gitx", ".git~1", ".gitignore", ".github/a", ".gitmodules", "a.git", "git", "git~", "git~2"),
    *("git~11", "xgit~1", ".gi", ".gi/t", ".g/it", ".git-", ".git\t", ".git\n", ".git ~"),
    *(".g\u0131t", ".musex", ".muse~1", "muse", "a.muse", "muse~2", ".mu\u00dfe", ".m\u00fcse"),
    *(f".g{seen}it" for seen in SEEN),
    *(".g\u200cit ", ".git\u200c.", "g\u200cit~1", "\u200c", ".\u200c", ".\u200c."),
    *("C:/a", "C:a", "c:\\a", "a:b", "a\\b", "a\\.b", "con", "aux.txt", "nul"),
]  # fmt: skip
"""What git itself lets in."""

BRANCHES_REFUSED = [
    *("", "@", "HEAD", "-", "-a", "/", "/a", "a/", "a//b", ".", ".a", "a/.b", "a/.", "a.", "a/b."),
    *("a..b", "..", "a.lock", "a.lock/b", "a/b.lock", ".lock", "@{", "a@{1}", "a/@{"),
    *(f"a{character}b" for character in "\x01\x1f\x7f ~^:?*[\\"),
]
BRANCHES_ALLOWED = [
    *("a", "main", "a/b", "a-", "a-b", "a/-b", "a.b", "a./b", "a.lockx", "a.locks/b", "lock"),
    *("a@b", "@a", "a@", "a/@", "@@", "a{", "{@", "head", "Head", "HEAD/a", "a/HEAD", "refs/a"),
    *("a]", "a!", "a\x80b", "a\xa0b", "gr\u00f6\u00dfe/\u65e5\u672c", "a;b"),
    *('"', "'", "\U0001f3b5", "a\u200fb", "a\u2065b", "a\u206ab", "a\u2029b", "a\u202fb"),
]  # fmt: skip
TURNING = [f"a{chr(point)}b" for point in (0x202A, 0x202D, 0x202E, 0x2066, 0x2069)]


@pytest.mark.parametrize(("fault", "paths"), REFUSED.items())
def test_each_rule_has_its_edge(fault: str, paths: list[str]) -> None:
    assert {path: path_fault(path) for path in paths} == dict.fromkeys(paths, PathFault(fault))


def test_what_git_allows_stays_allowed() -> None:
    assert {path: path_fault(path) for path in ALLOWED if path_fault(path)} == {}


@pytest.mark.parametrize("beside", [[], ["\u00e9"], [f"a{n}/b" for n in range(999)]])
def test_a_manifest_is_judged_as_each_of_its_paths(beside: list[str]) -> None:
    for fault, paths in REFUSED.items():
        for path in paths:
            assert Manifests().faults([*beside, path, "b"]) == [(path, fault)]
    for path in ALLOWED:
        assert Manifests().faults([*beside, path, "b"]) == []


def git_takes(path: str, repository: Path) -> bool:
    """Tell whether git would check this path out, with both protections on."""
    done = subprocess.run(
        [
            *("git", "-c", "core.protectHFS=true", "-c", "core.protectNTFS=true"),
            *("update-index", "--add", "--cacheinfo", f"100644,{'1' * 40},{path}"),
        ],
        cwd=repository,
        env=os.environ | {"GIT_INDEX_FILE": "one-path"},
        capture_output=True,
        check=False,
    )
    (repository / "one-path").unlink(missing_ok=True)
    return done.returncode == 0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "--quiet", path], check=True)
    return path


@pytest.mark.slow
def test_git_agrees_on_every_path(repository: Path) -> None:
    """But where a backslash separates, and on what is Muse's own."""
    refused = [path for paths in REFUSED.values() for path in paths]
    spelled = [
        before + name + after
        for before, name, after in product(
            ("", "a/"), (".git", "GIT~1", ".gi\u200dt"), (".", " x", ":x", "~1", "/b", "\u2070")
        )
    ]
    for path in (*refused, *ALLOWED, *spelled):
        if path:  # which is no argument
            ours, theirs = path_fault(path), git_takes(path, repository)
            if ours is PathFault.HAS_DOTMUSE or (ours is not None and "\\" in path):
                continue
            assert (ours is None) == theirs, ascii(path)


def test_a_file_and_a_folder_of_one_name_are_refused() -> None:
    for both, paths in {
        "a": ["a", "a/b"],
        "b/a": ["b/a/c/d", "b/a", "b/a-b", "b/a.txt", "b/a b", "b/a\x01"],
        "\u00e9": ["\u00e9", "\u00e8", "\u00e9/\U0001f3b5"],
    }.items():
        assert Manifests().faults(paths) == [(both, "duplicateEntries")]
    for fine in (
        ["a", "a.b/c", "a-/b", "a b"],
        ["a", "A/b"],
        ["\u00e9", "e\u0301/a"],
        ["a/b", "a/c"],
    ):
        assert Manifests().faults(fine) == []
    assert Manifests().faults(["a", "a/b", "a/b/c"]) == [
        ("a", "duplicateEntries"),
        ("a/b", "duplicateEntries"),
    ]


def test_what_was_judged_before_changes_no_verdict() -> None:
    many = [f"folder{n % 7}/file{n}" for n in range(400)]
    both = [(many[0], "duplicateEntries")]
    inside = many[0] + "/inside"
    manifests = Manifests()
    for _ in range(3):
        assert manifests.faults(many) == []
        assert manifests.faults([*many[1:], inside]) == []  # the file became a folder
        assert manifests.faults([many[0], inside]) == both
        assert manifests.faults([*many, inside]) == both
        assert manifests.faults([*many, ".git/a"]) == [(".git/a", "hasDotgit")]
        assert manifests.faults(["few", ".."]) == [("..", "hasDotdot")]
        assert manifests.faults([many[5], many[5] + "/a"]) == [(many[5], "duplicateEntries")]
        assert manifests.faults([*many[200:], *(f"new/{n}" for n in range(400))]) == []
        assert manifests.faults([]) == []


parts = st.sampled_from(["a", "a-", "a.b", "b", "\u00e9", "a\x01"])
fine_paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
many_paths = st.sets(st.integers(0, 60).map(lambda n: f"a/{n % 5}/{n}"), min_size=20)
manifests_of = many_paths | st.sets(fine_paths) | st.sets(fine_paths | st.just("a/.git"))


@pytest.mark.slow
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.lists(manifests_of | st.builds(set.union, many_paths, st.sets(fine_paths)), max_size=12))
def test_any_manifest_after_any_others_is_judged_as_if_it_were_the_first(
    sequence: list[set[str]],
) -> None:
    manifests = Manifests()
    for paths in sequence:
        expected = {(path, fault) for path in paths if (fault := path_fault(path))}
        for path in paths:
            if any(other.startswith(path + "/") for other in paths):
                expected.add((path, PathFault.DUPLICATE_ENTRIES))
        assert set(manifests.faults(paths)) == expected


def test_a_refusal_names_the_rule_and_shows_the_path_escaped_and_cut() -> None:
    def refusal(*paths: str) -> tuple[str, str]:
        with pytest.raises(Rejection) as caught:
            Manifests().check(paths, longest=LONGEST)
        return caught.value.code.value, caught.value.message

    assert refusal("a", "b\n\x1b[31m\u202e\u2713/../c") == (
        "BAD_PATH",
        "manifest: 'b\\n\\x1b[31m\\u202e\u2713/../c': hasDotdot, a part of it is ..",
    )
    code, message = refusal("\u202e" * 4000 + "/.git")
    assert (code, len(message) < 300, "hasDotgit" in message) == ("BAD_PATH", True, True)


def test_git_agrees_on_every_branch(repository: Path) -> None:
    """But on @, which its commands take for HEAD."""
    for name in (*BRANCHES_REFUSED, *BRANCHES_ALLOWED):
        done = subprocess.run(
            ["git", "check-ref-format", "--branch", name],
            cwd=repository,
            capture_output=True,
            check=False,
        )
        assert (branch_fault(name) is None) == (done.returncode == 0 and name != "@"), ascii(name)


def test_no_branch_turns_the_direction_of_text() -> None:
    assert {branch_fault(name) for name in TURNING} == {"it holds what turns the direction of text"}


def test_each_rule_for_branches_has_its_edge() -> None:
    assert [name for name in BRANCHES_REFUSED if branch_fault(name) is None] == []
    assert {name: branch_fault(name) for name in BRANCHES_ALLOWED if branch_fault(name)} == {}
