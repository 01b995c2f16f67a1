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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from musehub_pipeline.domain.errors import PipelineError

_BRANCH_REFS = "refs/heads/"

# Requests that are on their way at once. All of them fit into the smallest pipe buffer there is,
# so that writing them never waits for answers to be read: a deadlock is impossible.
_WINDOW = 64

# Variables that say where git is and whom it trusts. Any other GIT_* variable may redirect git to
# another repository (a hook sets GIT_DIR), so it is not handed on.
_KEPT_VARIABLE = re.compile(r"GIT_(EXEC_PATH|CONFIG_\w+|CEILING_DIRECTORIES|DISCOVERY_\w+)")
_FIXED_VARIABLES = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",  # what a partial clone lacks is not fetched; older gits ...
    "GIT_NO_LAZY_FETCH": "1",  # ... do not know this one
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}

_DATE = re.compile(rb"(-?\d{1,20})(?: ([+-])(\d{1,9})(\d\d))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A day off the ends of what datetime can hold, so that any time zone can show the instant.
_EARLIEST = int((datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds())
_LATEST = int((datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds())
_MAX_OFFSET = timedelta(hours=15, minutes=59)  # PostgreSQL takes no larger one


class GitError(PipelineError):
    """The git repository could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitCommit:
    """What a raw commit object says, as text; its parents are told by the history."""

    tree: str
    author: str  # "Name <email>"
    committed_at: str  # ISO 8601 with offset
    message: str  # without the newlines at its end


class EntryKind(Enum):
    """What a tree entry stands for; a symbolic link is a file that holds its target."""

    FILE = "file"
    TREE = "tree"
    SUBMODULE = "submodule"


class TreeEntry(NamedTuple):
    """One entry of a raw tree object."""

    kind: EntryKind
    name: bytes
    oid: bytes


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
        ref = _text(asked.stdout, "utf-8").rstrip("\n")
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
        return _text(done.stdout, "utf-8").split("\n")[:-1]

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


def parse_commit(raw: bytes) -> GitCommit:
    """Take a raw commit object apart; what is malformed in it is replaced, never an error."""
    head, _, message = raw.partition(b"\n\n")
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        headers.setdefault(key, value)  # lines that go on a header begin with a space: key b""
    encoding = headers.get(b"encoding", b"utf-8").decode("ascii", "replace")
    author, _ = _split_signature(headers.get(b"author", b""))
    _, committed_at = _split_signature(headers.get(b"committer", b""))
    return GitCommit(
        tree=headers[b"tree"].decode("ascii"),
        author=_text(author, encoding).strip(),
        committed_at=_iso_date(committed_at),
        message=_text(message, encoding).rstrip("\n"),
    )


def parse_tree(raw: bytes, *, oid_bytes: int) -> list[TreeEntry]:
    """Take a raw tree object apart."""
    entries: list[TreeEntry] = []
    at = 0
    while at < len(raw):
        space = raw.index(b" ", at)
        end = raw.index(b"\0", space)
        kind = _KINDS.get(raw[at:space], EntryKind.FILE)
        at = end + 1 + oid_bytes
        entries.append(TreeEntry(kind, raw[space + 1 : end], raw[end + 1 : at]))
    return entries


_KINDS = {
    b"40000": EntryKind.TREE,
    b"040000": EntryKind.TREE,  # written by some old tools
    b"160000": EntryKind.SUBMODULE,
}


def _split_signature(signature: bytes) -> tuple[bytes, bytes]:
    """Split ``Name <email> seconds zone`` after the email."""
    person, bracket, date = signature.rpartition(b">")
    return (person + bracket, date.strip()) if bracket else (date, b"")


def _iso_date(date: bytes) -> str:
    """Return ``seconds zone`` in ISO 8601; what no calendar holds is clamped, no zone is UTC."""
    match = _DATE.fullmatch(date)
    if match is None:
        return _EPOCH.isoformat()
    seconds, sign, hours, minutes = match.groups(default=b"0")
    moment = _EPOCH + timedelta(seconds=min(max(int(seconds), _EARLIEST), _LATEST))
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    if offset > _MAX_OFFSET:
        return moment.isoformat()
    return moment.astimezone(timezone(-offset if sign == b"-" else offset)).isoformat()


def _text(raw: bytes, encoding: str) -> str:
    """Decode what git holds into text that UTF-8 and PostgreSQL can hold."""
    try:
        text = raw.decode(encoding, "replace")
    except (LookupError, ValueError):  # no such encoding, or none for text
        text = raw.decode("utf-8", "replace")
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


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
