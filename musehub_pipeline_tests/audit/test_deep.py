"""Stored bytes are read back, whatever they are stored on, and what is wrong with each is told."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import obstore
import pytest

from musehub_pipeline.audit import deep
from musehub_pipeline.audit.deep import Damage, DeepCheck, Wrong
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.audit.checking import OBJECTS
from musehub_pipeline_tests.audit.damaging import key_of, many_files, rot
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all


@contextmanager
def checking(
    hub: Hub, *, repo_id: str | None = None, since: datetime | None = None
) -> Iterator[DeepCheck]:
    with (
        Database(str(hub.settings.database_url)) as database,
        ObjectStorage(str(hub.settings.storage_url), s3=hub.settings.s3, threads=3) as objects,
    ):
        yield DeepCheck(database, objects, repo_id=repo_id, since=since)


def found(
    hub: Hub, *, repo_id: str | None = None, since: datetime | None = None, after: str = ""
) -> list[Damage]:
    with checking(hub, repo_id=repo_id, since=since) as check:
        return [damage for _, damages in check.windows(after=after) for damage in damages]


def push(hub: Hub, slug: str, history: History) -> str:
    repo_id = hub.create_repo(slug)
    hub.push(repo_id, history.mpack())
    index_all(hub)
    return repo_id


def id_of(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def test_of_many_objects_all_that_rotted_are_found_and_no_other(
    any_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "WINDOW_ROWS", 17)
    contents = many_files(70, seed=2).objects
    push(any_hub, "song", many_files(70, seed=2))
    assert found(any_hub) == []

    wrong = rot(any_hub, contents, random.Random(3).sample(sorted(contents), 45))

    stored = any_hub.stored_objects()
    assert found(any_hub) == [
        Damage(
            object_id,
            Wrong(what),
            len(contents[object_id]),
            len(stored[object_id]) if object_id in stored else None,
            id_of(stored[object_id]) if object_id in stored else None,
        )
        for object_id, what in sorted(wrong.items())
    ]


def test_objects_of_several_parts_and_of_no_byte_are_read_whole(any_hub: Hub) -> None:
    large = bytes(range(256)) * 9_000  # longer than any buffer
    history = History()
    history.commit({"large": large, "empty": b"", "small": b"small"})
    push(any_hub, "song", history)
    assert found(any_hub) == []

    flipped = large[:-1] + b"\0"
    obstore.put(any_hub.store, key_of(id_of(large)), flipped)
    obstore.put(any_hub.store, key_of(id_of(b"")), b"\0")

    size = len(large)
    assert found(any_hub) == sorted(
        [
            Damage(id_of(large), Wrong.HASH, size, size, id_of(flipped)),
            Damage(id_of(b""), Wrong.SIZE, 0, 1, id_of(b"\0")),
        ]
    )


def test_of_a_repo_what_it_holds_is_read_in_windows_after_an_id(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "WINDOW_ROWS", 2)
    song, talk = many_files(5, seed=4), many_files(5, seed=5)
    repo_id = push(hub, "song", song)
    push(hub, "talk", talk)
    rot(hub, song.objects | talk.objects, [*song.objects, *talk.objects])

    assert [d.object_id for d in found(hub, repo_id=repo_id)] == sorted(song.objects)
    after = sorted(song.objects)[2]
    assert [d.object_id for d in found(hub, repo_id=repo_id, after=after)] == sorted(song.objects)[
        3:
    ]
    assert len(found(hub)) == 10
    with checking(hub, repo_id=repo_id) as of_repo, checking(hub) as of_all:
        assert (of_repo.count(), of_all.count()) == (5, 10)
        sizes = [len(window) for window, _ in of_repo.windows(after="")]
    assert sizes == [2, 2, 1]


def test_a_window_has_no_more_bytes_than_allowed_but_for_a_first_object(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "_WINDOW_BYTES", 1)
    push(hub, "song", many_files(4, seed=6))

    with checking(hub) as check:
        assert [len(window) for window, _ in check.windows(after="")] == [1, 1, 1, 1]


def test_older_rows_can_be_left_out(hub: Hub) -> None:
    history = many_files(4, seed=7)
    repo_id = push(hub, "song", history)
    old, *young = sorted(history.objects)
    hub.sql(
        f"UPDATE {OBJECTS} SET created_at = now() - interval '2 hours' WHERE object_id = %(o)s",
        {"o": old},
    )
    rot(hub, history.objects, history.objects)
    with Database(str(hub.settings.database_url)) as database:
        since = database.now() - timedelta(hours=1)

    for only in (None, repo_id):
        assert [damage.object_id for damage in found(hub, since=since, repo_id=only)] == young
        with checking(hub, since=since, repo_id=only) as check:
            assert check.count() == 3


def test_rows_that_nobody_foresaw_are_told_and_hold_up_nothing(hub: Hub) -> None:
    history = many_files(1, seed=8)
    push(hub, "song", history)
    [object_id] = history.objects
    hub.sql(f"ALTER TABLE {OBJECTS} ALTER size_bytes DROP NOT NULL")
    hub.sql(f"UPDATE {OBJECTS} SET size_bytes = NULL")
    for odd in ("zzz", object_id[7:], "../../etc/passwd"):
        hub.sql(f"INSERT INTO {OBJECTS} VALUES (%(o)s, 3, '')", {"o": odd})

    size = len(history.objects[object_id])
    assert found(hub) == sorted(
        [
            *(Damage(odd, Wrong.MISSING, 3) for odd in ("zzz", object_id[7:], "../../etc/passwd")),
            Damage(object_id, Wrong.SIZE, None, size, object_id),
        ]
    )


def test_what_the_disk_cannot_read_on_is_damage_and_no_error(hub: Hub) -> None:
    history = many_files(2, seed=9)
    push(hub, "song", history)
    bad, _ = sorted(history.objects)
    path = Path(urlsplit(str(hub.settings.storage_url)).path, key_of(bad))
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading its beginning is an error of input

    size = len(history.objects[bad])
    assert found(hub) == [Damage(bad, Wrong.SIZE, size, 0, id_of(b""))]


def test_one_bad_read_is_no_verdict(hub: Hub) -> None:
    history = many_files(1, seed=10)
    push(hub, "song", history)
    [(object_id, content)] = history.objects.items()
    path = Path(urlsplit(str(hub.settings.storage_url)).path, key_of(object_id))
    sound = path.with_name("sound")
    path.rename(sound)
    os.mkfifo(path)  # whoever reads it waits for what is written

    def answer_wrongly() -> None:
        with path.open("wb") as pipe:
            pipe.write(content[:-1])
            sound.replace(path)  # before the reader is at the end

    answering = Thread(target=answer_wrongly)
    answering.start()

    assert found(hub) == []
    answering.join()
