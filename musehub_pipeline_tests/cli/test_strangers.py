"""Another user of the machine, beside a home with embedded services that run."""

import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musehub_pipeline_tests.cli.terminal import Git, run, start

STRANGER = 54_321
"""The id of a user and a group that own nothing."""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that has served a push, and serves; its folder is open to all, as /srv is."""
    with tempfile.TemporaryDirectory(prefix="open-") as folder:
        place = Path(folder).resolve()
        place.chmod(0o755)
        home = place / "home"
        git = Git(place / "song")
        git.commit("begin", {"a": b"a"})
        with start("index", "--watch", home=home) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline() == "waiting for pushes\n"
                assert run("demo", "--git", git.path, home=home).code == 0
                yield home
            finally:
                process.terminate()
                process.communicate()


def as_stranger(attempts: dict[str, Callable[[], object]]) -> list[str]:
    """Return the names of the attempts that succeed for a user who owns nothing."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            done = [name for name, attempt in attempts.items() if succeeds(attempt)]
            os.write(theirs, json.dumps(done).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told)


def succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def attempts_at(path: Path) -> dict[str, Callable[[], object]]:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        return {
            f"list {path}": lambda: list(path.iterdir()),
            f"write into {path}": (path / "stranger").touch,
        }
    if stat.S_ISSOCK(mode):
        return {f"connect to {path}": lambda: connect(path)}
    return {
        f"read {path}": lambda: path.open("rb").close(),
        f"change {path}": lambda: path.open("ab").close(),
    }


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_nothing_of_a_home_can_be_read_or_changed_or_connected_to(home: Path) -> None:
    locks = Path(tempfile.gettempdir()) / f"musehub-{os.geteuid()}"
    places = [home, *home.rglob("*"), locks, *locks.rglob("*")]
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in places}
    assert kinds >= {stat.S_IFDIR, stat.S_IFREG, stat.S_IFSOCK}
    attempts: dict[str, Callable[[], object]] = {}
    for path in places:
        attempts |= attempts_at(path)

    # The server that root starts runs as somebody else, who has to come through.
    allowed = {f"list {home}"}
    assert set(as_stranger(attempts)) - allowed == set()
    assert as_stranger({"list /": lambda: list(Path("/").iterdir())}) == ["list /"]
