"""What lies under mpacks/, on each kind of storage, and what of it no job names."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import obstore
import pytest

from musehub_pipeline.audit import uploads
from musehub_pipeline.audit.uploads import Total, UploadedMpack, Uploads, open_uploads
from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.objects.mpacks import Upload
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.hub import Hub

CONTENTS = [b"%d" % number for number in range(9)]
HEXES = [sha256(content).hexdigest() for content in CONTENTS]
STRANGE_NAMES = (
    "notes",
    f"{HEXES[0]}.tmp",
    HEXES[0].upper(),
    f"sha256:{HEXES[0]}",
    f"deep/{HEXES[0]}",
    "[red]\u202e",
)


@pytest.fixture
def storage(any_hub: Hub) -> Iterator[ObjectStorage]:
    url = str(any_hub.settings.storage_url)
    with ObjectStorage(url, s3=any_hub.settings.s3, threads=2) as storage:
        yield storage


@pytest.fixture
def noted(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    """Mpacks, the first one a day old and each other an hour younger; no job names them."""
    monkeypatch.setattr(uploads, "CHUNK_ROWS", 4)
    with Database(str(hub.settings.database_url)) as database, open_uploads(database) as noted:
        assert list(noted.note(upload(database, number) for number in range(9))) == [4, 8, 9]
        yield noted


def upload(database: Database, number: int) -> Upload:
    uploaded_at = database.now() - timedelta(hours=24 - number)
    return Upload(f"mpacks/{HEXES[number]}", HEXES[number], number, uploaded_at)


def upload_in(hub: Hub, content: bytes) -> Upload:
    key = f"mpacks/{hub.upload(content)[-64:]}"
    return whole_second(Upload(key, key[-64:], len(content), hub.store.head(key)["last_modified"]))


def whole_second(upload: Upload) -> Upload:
    """S3 tells parts of a second in a listing only."""
    return upload._replace(uploaded_at=upload.uploaded_at.replace(microsecond=0))


def listed(storage: ObjectStorage) -> list[Upload]:
    return sorted(map(whole_second, storage.stored_mpacks()), key=lambda upload: upload.key)


def left(noted: Uploads, older_than: timedelta | None = None) -> list[int]:
    """Return which mpacks are left, by number."""
    return [mpack.size_bytes for mpack in noted.mpacks(older_than=older_than)]


def insert_job(hub: Hub, payload: Any, **columns: str) -> None:
    job_id = hub.enqueue("repo-song")
    for name, value in columns.items():
        hub.sql(
            f"UPDATE musehub_background_jobs SET {name} = %(v)s WHERE job_id = %(j)s",
            {"v": value, "j": job_id},
        )
    hub.sql(
        "UPDATE musehub_background_jobs SET payload = %(p)s::jsonb WHERE job_id = %(j)s",
        {"p": payload, "j": job_id},
    )


def test_mpacks_are_listed_with_size_and_time(
    any_hub: Hub, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musehub_pipeline.objects.storage._LISTED_AT_ONCE", 4)
    assert listed(storage) == []

    expected = [upload_in(any_hub, content) for content in CONTENTS]

    assert listed(storage) == sorted(expected, key=lambda upload: upload.key)


def test_what_has_another_name_is_listed_as_no_mpack(any_hub: Hub, storage: ObjectStorage) -> None:
    for name in STRANGE_NAMES:
        obstore.put(any_hub.store, f"mpacks/{name}", b"none of ours")

    assert {(upload.key, upload.hex_digest) for upload in storage.stored_mpacks()} == {
        (f"mpacks/{name}", None) for name in STRANGE_NAMES
    }


def test_some_mpacks_are_found_by_name(any_hub: Hub, storage: ObjectStorage) -> None:
    expected = {HEXES[n]: upload_in(any_hub, CONTENTS[n]) for n in range(3)}

    found = storage.find_mpacks([*HEXES[1:], HEXES[0]])

    assert {name: whole_second(upload) for name, upload in found.items()} == expected
    assert storage.find_mpacks([]) == {}


def test_a_name_that_cannot_be_told_ends_the_listing_and_is_said(hub: Hub) -> None:
    """The client library knows no name with a control character."""
    with ObjectStorage(str(hub.settings.storage_url)) as storage:
        hub.upload(b"mpack")
        (hub.settings.home.parent / "store" / "mpacks" / "bell\a").touch()

        with pytest.raises(Transient, match=r"LIST mpacks/: .*bell"):
            listed(storage)


def test_all_that_no_job_names_is_left_the_oldest_first(hub: Hub, noted: Uploads) -> None:
    noted.forget_named()

    mpacks = list(noted.mpacks())

    assert [mpack[:2] for mpack in mpacks] == [(f"sha256:{HEXES[n]}", n) for n in range(9)]
    assert [round(mpack.age_seconds / 3600) for mpack in mpacks] == list(range(24, 15, -1))
    assert (noted.total(), noted.noted, noted.strangers) == (Total(9, 36), 9, 0)


def test_jobs_name_mpacks_in_either_spelling_and_however_they_stand(
    hub: Hub, noted: Uploads
) -> None:
    insert_job(hub, f'{{"mpack_key": "{HEXES[0]}"}}')
    insert_job(hub, f'{{"mpack_key": "sha256:{HEXES[1]}"}}', status="running")
    insert_job(hub, f'{{"mpack_key": "sha256:{HEXES[2]}"}}', status="done")
    insert_job(hub, f'{{"mpack_key": "{HEXES[3]}"}}', status="failed")
    insert_job(hub, f'{{"mpack_key": "{HEXES[3]}"}}', repo_id="another")

    noted.forget_named()

    assert left(noted) == [4, 5, 6, 7, 8]
    assert noted.total() == Total(5, 30)


def test_what_only_looks_like_a_name_is_none(hub: Hub, noted: Uploads) -> None:
    insert_job(hub, f'{{"mpack_key": "{HEXES[0]}"}}', job_type="mail.send")
    insert_job(hub, f'{{"mpack_key": "sha256:sha256:{HEXES[1]}"}}')
    insert_job(hub, f'{{"mpack_key": "{HEXES[2].upper()}"}}')
    insert_job(hub, f'{{"mpack_key": ["{HEXES[3]}"]}}')
    insert_job(hub, f'["{HEXES[4]}"]')
    insert_job(hub, f'{{"head": "{HEXES[5]}", "mpack_key": null}}')
    insert_job(hub, "null")

    noted.forget_named()

    assert left(noted) == list(range(9))


def test_the_younger_ones_can_be_left_out(noted: Uploads) -> None:
    older_than = timedelta(hours=21, minutes=30)

    assert left(noted, older_than) == [0, 1, 2]
    assert noted.total(older_than=older_than) == Total(3, 3)
    assert noted.total(older_than=timedelta(days=2)) == Total(0, 0)


def test_an_upload_from_the_future_is_of_age_0(hub: Hub) -> None:
    with Database(str(hub.settings.database_url)) as database, open_uploads(database) as noted:
        ahead = database.now() + timedelta(hours=1)
        assert list(noted.note([Upload("mpacks/x", HEXES[0], 7, ahead)])) == [1]

        assert list(noted.mpacks()) == [UploadedMpack(f"sha256:{HEXES[0]}", 7, ahead, 0.0)]


def test_what_is_no_mpack_is_counted_and_some_of_it_kept(hub: Hub) -> None:
    with Database(str(hub.settings.database_url)) as database, open_uploads(database) as noted:
        strangers = [Upload(f"mpacks/{n}", None, 1, datetime.now().astimezone()) for n in range(5)]

        assert list(noted.note(strangers)) == []

        assert (noted.noted, noted.strangers) == (0, 5)
        assert noted.some_strangers == ["mpacks/0", "mpacks/1", "mpacks/2"]
        assert list(noted.mpacks()) == []
