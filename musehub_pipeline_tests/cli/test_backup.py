"""docs/backup.md, walked through: each of database and bucket may be older than the other."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from musehub_pipeline_tests.cli.terminal import Finished, call
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.servers.postgres import bundled_programs

DOCS = (Path(__file__).parents[2] / "docs/backup.md").read_text("utf-8")
DUMP, RESTORE = re.findall(r"^ +(pg_(?:dump|restore) .*)$", DOCS, re.M)
AT_ONCE = ("--older-than", "0s")


class World:
    """A hub to which one commit was pushed before a backup and one after it."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self._folder = hub, folder
        self._store = Path(str(hub.settings.storage_url).removeprefix("file://"))
        self.history = History()
        self.repo_id = hub.create_repo()
        self.early = self._push({"tune": b"early"})
        self._run(DUMP)
        shutil.copytree(self._store, folder / "bucket")
        self.before = self.history.copy()
        self.late = self._push({"tune": b"late", "score": b"more"})

    def _push(self, files: dict[str, bytes]) -> str:
        base = self.history.copy()
        head = self.history.commit(files, parents=list(base.commits)[-1:])
        self.key = self.hub.upload(self.history.mpack(without=base))
        self.hub.enqueue(self.repo_id, mpack_key=self.key, branch="main", head=head)
        index_all(self.hub)
        return head

    def _run(self, command: str) -> None:
        path = f"{bundled_programs()}:{os.environ['PATH']}"
        subprocess.run(
            command, shell=True, check=True, cwd=self._folder, env={**os.environ, "PATH": path}
        )

    def restore_database(self) -> None:
        self._run(RESTORE)

    def restore_bucket(self) -> None:
        shutil.rmtree(self._store)
        shutil.copytree(self._folder / "bucket", self._store)

    def forgotten(self) -> list[str]:
        """Return the mpacks that `backfill discover` lists."""
        return [each["mpack_key"] for each in call("backfill", "discover", "--json").json]


@pytest.fixture
def world(hub: Hub, tmp_path: Path) -> World:
    return World(hub, tmp_path)


def fsck(*options: str) -> Finished:
    return call("fsck", *options)


def test_both_come_back_as_they_were(world: World) -> None:
    world.restore_database()
    world.restore_bucket()

    assert fsck().code == 0
    assert (world.forgotten(), world.hub.head(world.repo_id)) == ([], world.early)
    assert world.hub.counts()["commits"] == 1


def test_with_an_older_database_what_was_pushed_since_is_found_in_the_bucket(
    world: World,
) -> None:
    world.restore_database()

    assert fsck().code == 0
    assert world.forgotten() == [world.key]
    assert len(fsck("--orphans", "--json").out.splitlines()) == 2
    arguments = (world.key, "--enqueue", "--repo", "ada/song", *AT_ONCE)
    assert call("backfill", "discover", *arguments).code == 0
    index_all(world.hub)
    assert (world.forgotten(), fsck().code, fsck("--orphans", "--json").out) == ([], 0, "")
    assert world.hub.counts()["commits"] == 2
    assert world.hub.head(world.repo_id) == world.early

    # The pusher goes on from what their clone has, and sends no more than that.
    third = world._push({"tune": b"third"})

    assert (world.hub.head(world.repo_id), fsck().code) == (third, 0)


def test_with_an_older_bucket_what_is_missing_is_named_and_healed_by_a_push(
    world: World, tmp_path: Path
) -> None:
    world.restore_bucket()

    assert fsck().code == 3
    assert world.forgotten() == []
    assert fsck("--repair").code == 3
    again = tmp_path / "again.mpack"
    again.write_bytes(world.history.mpack(without=world.before))
    assert call("push", again, "--repo", "ada/song", "--branch", "main", "--head", world.late)
    index_all(world.hub)
    assert fsck("--repair").code == 0
    assert (fsck().code, fsck("--deep").code) == (0, 0)
    assert world.hub.head(world.repo_id) == world.late
