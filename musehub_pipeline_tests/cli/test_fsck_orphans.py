"""`fsck --orphans` lists what no row names, and `--prune-orphans` removes what of it is old."""

import json
import os
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import obstore
import pytest

from musehub_pipeline.cli import orphans as command
from musehub_pipeline_tests.audit.damaging import key_of, many_files
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

AGES = {b"eldest": 72, b"middle one": 48, b"youngest": 0}  # hours
IDS = {content: f"sha256:{sha256(content).hexdigest()}" for content in AGES}
HISTORY = many_files(3, seed=1)


@pytest.fixture
def left(hub: Hub) -> Hub:
    """A directory with the objects of a push, and with three that no row names."""
    hub.push(hub.create_repo(), HISTORY.mpack())
    index_all(hub)
    for content, hours in AGES.items():
        key = key_of(IDS[content])
        obstore.put(hub.store, key, content)
        then = time.time() - timedelta(hours=hours).total_seconds()
        os.utime(Path(urlsplit(str(hub.settings.storage_url)).path, key), (then, then))
    return hub


def test_orphans_are_listed_the_oldest_first_with_size_and_age(left: Hub) -> None:
    scripted, told = call("fsck", "--orphans", "--json"), call("fsck", "--orphans")

    assert scripted.code == told.code == 0
    rows = [json.loads(line) for line in scripted.out.splitlines()]
    assert [round(row.pop("age_seconds") / 3600) for row in rows] == list(AGES.values())
    stored = [left.store.head(key_of(IDS[content]))["last_modified"] for content in AGES]
    assert [row.pop("stored_at")[:19] for row in rows] == [at.isoformat()[:19] for at in stored]
    assert rows == [
        {"object_id": object_id, "size_bytes": len(content)} for content, object_id in IDS.items()
    ]
    shown = [line.split("│")[1:4] for line in told.out.splitlines() if line.startswith("│")]
    assert [[cell.strip()[:6] for cell in row[1:]] for row in shown] == [
        ["6", "3 days"],
        ["10", "2 days"],
        ["8", shown[2][2].strip()[:6]],
    ]
    assert all(object_id in told.out for object_id in IDS.values())
    assert told.err.splitlines()[-1] == "3 of 6 stored objects are named by no row: 24 bytes"
    assert len(left.stored_objects()) == 6


def test_of_many_some_are_shown_and_all_are_counted(
    left: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LISTED", 1)

    told = call("fsck", "--orphans", "--older-than", "1h")

    assert [object_id in told.out for object_id in IDS.values()] == [True, False, False]
    assert told.err.splitlines()[-2:] == [
        "… and 1 more",
        "2 of 6 stored objects are named by no row: 16 bytes",
    ]


def test_what_is_old_is_removed_and_the_rest_stays(left: Hub) -> None:
    scripted = call("fsck", "--prune-orphans", "--older-than", "60h", "--json")
    told = call("fsck", "--prune-orphans", "--older-than", "1h")

    assert scripted.json == {"removed": 1, "bytes": 6}
    assert (told.code, told.out) == (0, "")
    assert told.err.splitlines()[-1] == "1 orphans removed: 10 bytes"
    assert left.stored_objects() == HISTORY.objects | {IDS[b"youngest"]: b"youngest"}


def test_a_hub_that_is_never_idle_is_an_error_and_nothing_is_removed(
    left: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_PATIENCE", timedelta())
    left.push("repo-song", HISTORY.mpack())
    left.sql(
        "UPDATE musehub_background_jobs SET status = 'running', run_id = 'busy',"
        " lease_expires_at = now() + interval '1 hour' WHERE status = 'pending'"
    )

    finished = call("fsck", "--prune-orphans", "--older-than", "1h")

    assert finished.code == 1
    *_, removed, error = finished.err.splitlines()
    assert removed == "0 orphans removed: 0 bytes"
    assert error == (
        "error: the hub was never idle for 0 seconds, and a push under way may count on what"
        " seems an orphan: runs have 1 jobs now; 0 orphans were removed; try again when less is"
        " pushed"
    )
    assert len(left.stored_objects()) == 6
