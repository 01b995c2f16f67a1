"""A git repository, read through the git command.

Finding branches and revisions, walking the history, and taking git's raw objects apart belong here.
What Muse makes of them does not.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self, cast

from musehub_pipeline.client.git_objects import (
    GitCommit,
    GitError,
    TreeEntry,
    parse_commit,
    parse_tree,
    text_of,
)

_BRANCH_REFS = "refs/heads/"

# Requests that are on their way at once. All of them fit into the smallest pipe buffer there is,
# so that writing them never waits for answers to be read: a deadlock is impossible.
_WINDOW = 64

# Variables that say where git is and whom it trusts. Any other GIT_* variable may redirect git to
# another repository (a hook sets GIT_DIR), so it is not handed on.
_KEPT_VARIABLE = re.compile(r"GIT_(EXEC_PATH|CONFIG_\w+|CEILING_DIRECTORIES|DISCOVERY_\w+)")
_FIXED_VARIABLES = {
    "LC_ALL": "C",
    "GIT_NO_LAZY_FETCH": "1",  # what a partial clone lacks is not fetched
    "GIT_ALLOW_PROTOCOL": "none",  # nor by an older git, which does not know GIT_NO_LAZY_FETCH
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


class GitRepository:
    """A git repository of any kind, shallow or SHA-256, open for reading; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        found = self._run("rev-parse", "--git-dir")
        if found.returncode:
            raise GitError(f"{self.path} is not a git repository: {_last_words(found.stderr)}")
        with ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                self._command("cat-file", "--batch"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
            )
            stack.callback(_stop, process)
            self._requests = cast("IO[bytes]", process.stdin)
            self._answers = cast("IO[bytes]", process.stdout)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def branches(self) -> dict[str, str]:
        """Return the local branches, name → commit, in the order of their names."""
        lines = self._output("for-each-ref", "--format=%(objectname) %(refname)", _BRANCH_REFS)
        pairs = (line.split(" ", 1) for line in lines)
        return {name.removeprefix(_BRANCH_REFS): oid for oid, name in pairs}

    def current_branch(self) -> str | None:
        """Return the branch that HEAD names, born or not, or None where HEAD is detached."""
        asked = self._run("symbolic-ref", "--quiet", "HEAD")
        ref = text_of(asked.stdout, "utf-8").rstrip("\n")
        return ref.removeprefix(_BRANCH_REFS) if ref.startswith(_BRANCH_REFS) else None

    def find_commit(self, revision: str) -> str:
        """Return the commit that `revision` names, in any way that git understands."""
        name = revision + "^{commit}"
        answer = None
        if "\n" not in name and "\0" not in name:  # either would end the name early
            self._request([name])
            answer = self._answer(name)
        if answer is None:
            raise GitError(f"no commit {revision} in {self.path}")
        return answer[0]

    def history(self, tips: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return every commit reachable from `tips`, commit → parents, parents first.

        Parents that a shallow clone cut off are not there: such a commit is a root.
        """
        lines = self._output(
            "rev-list", "--topo-order", "--reverse", "--parents", "--stdin", stdin="\n".join(tips)
        )
        return {oid: tuple(parents) for oid, *parents in (line.split(" ") for line in lines)}

    def commits(self, oids: Sequence[str]) -> Iterator[tuple[str, GitCommit]]:
        """Yield each of the commits with its oid."""
        for start in range(0, len(oids), _WINDOW):
            window = oids[start : start + _WINDOW]
            # Read at once, because the caller asks for other objects between two commits.
            raws = list(self.contents(window))
            yield from zip(window, map(parse_commit, raws), strict=True)

    def tree(self, oid: str) -> list[TreeEntry]:
        """Return the entries of a tree, in git's order."""
        (raw,) = self.contents([oid])
        return parse_tree(raw, oid_bytes=len(oid) // 2)

    def contents(self, oids: Sequence[str]) -> Iterator[bytes]:
        """Yield the content of each object; to be exhausted before anything else is asked for."""
        for start in range(0, len(oids), _WINDOW):
            window = oids[start : start + _WINDOW]
            self._request(window)
            for oid in window:
                yield self._content(oid)

    def _content(self, oid: str) -> bytes:
        answer = self._answer(oid)
        if answer is None:
            raise GitError(f"{self.path} lacks object {oid}; is it a partial clone?")
        return answer[1]

    def _request(self, names: Iterable[str]) -> None:
        try:
            self._requests.write(b"".join(os.fsencode(name) + b"\n" for name in names))
            self._requests.flush()
        except BrokenPipeError as error:
            raise self._died() from error

    def _answer(self, name: str) -> tuple[str, bytes] | None:
        header = self._answers.readline()
        if not header.endswith(b"\n"):
            raise self._died()
        fields = header.split()
        if len(fields) != 3 or not fields[2].isdigit():  # noqa: PLR2004
            return None  # "<name> missing", or ambiguous
        size = int(fields[2])
        content = self._answers.read(size)
        if len(content) != size or self._answers.read(1) != b"\n":
            raise self._died(f" while sending {name}")
        return fields[0].decode("ascii"), content

    def _died(self, when: str = "") -> GitError:
        self._errors.seek(0)
        words = _last_words(self._errors.read())
        return GitError(f"git cat-file ended{when} in {self.path}: {words}")

    def _output(self, *arguments: str, stdin: str = "") -> list[str]:
        done = self._run(*arguments, stdin=stdin)
        if done.returncode:
            words = _last_words(done.stderr)
            raise GitError(f"git {arguments[0]} failed in {self.path}: {words}")
        # Not splitlines(): a branch name may hold what Unicode takes for a line end.
        return text_of(done.stdout, "utf-8").split("\n")[:-1]

    def _run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                self._command(*arguments),
                input=stdin.encode(),
                capture_output=True,
                check=False,
                env=_environment(),
            )
        except OSError as error:
            raise GitError(f"cannot read {self.path}: git did not start ({error})") from error

    def _command(self, *arguments: str) -> list[str]:
        # The caller named the path, so a bare repository there is no trap.
        return ["git", "-c", "safe.bareRepository=all", "-C", os.fspath(self.path), *arguments]


def _environment() -> dict[str, str]:
    """Return an environment in which git answers the same to everyone."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or _KEPT_VARIABLE.fullmatch(key)
    }
    return inherited | _FIXED_VARIABLES


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("fatal: ") if lines else "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it only reads, and it may be blocked on an answer that nobody wants
    with suppress(BrokenPipeError), process:
        pass
