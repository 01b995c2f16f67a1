"""S3 as it fails, refuses and differs, in front of a real one: what is pushed is done in the end.

Where it cannot be done now, the job says why and waits; and nothing wrong is ever published.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from musehub_pipeline.client.push import outline, push
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.queue.enqueue import Pushes
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_batch
from musehub_pipeline_tests.objects.packing import key_of
from musehub_pipeline_tests.queue.queueing import change
from musehub_pipeline_tests.servers.ceph import CephS3
from musehub_pipeline_tests.servers.faults import (
    SKEWED,
    away,
    busy,
    cut_off,
    heedless,
    hung_up,
    locked,
    reset,
    secretive,
    skewed,
    slow,
    spoiled,
    spoiled_on_the_way,
    unanswered,
    without_conditions,
)
from musehub_pipeline_tests.servers.faulty_s3 import Fault, FaultyS3, First, Request, sound
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

pytestmark = pytest.mark.slow  # Ceph takes seconds to start

HISTORY = History()
FILES = {f"file{n}": b"%d" % n * 100 for n in range(20)}
ROOT = HISTORY.commit(FILES | {"some": bytes(range(256)) * 6_000})  # more than is read at a time
LAST = HISTORY.commit(FILES | {"empty": b""}, parents=[ROOT])
LARGE = HISTORY.copy()
LARGE.commit({"large": bytes(range(256)) * 36_000}, parents=[LAST])  # two parts of an upload


@pytest.fixture
def way(ceph_s3: CephS3) -> Iterator[FaultyS3]:
    with FaultyS3(ceph_s3, sound) as way:
        yield way


@pytest.fixture
def there(settings: Settings, ceph_s3: CephS3) -> Hub:
    """A hub that reaches the storage as it is."""
    return Hub(s3_settings(settings, ceph_s3))


@pytest.fixture
def hub(there: Hub, way: FaultyS3) -> Hub:
    """The same hub, for whom storage fails; it reads again what is wrong, as operators have it."""
    there.create_repo()
    return Hub(
        there.settings.model_copy(
            update={"endpoint_url": way.endpoint_url, "read_again_seconds": 60}
        )
    )


def bucket_of(hub: Hub) -> str:
    return str(hub.settings.storage_url).split("/")[2]


def pushed(hub: Hub, tmp_path: Path, history: History = HISTORY) -> str:
    """Push as a client does and return the job."""
    path = tmp_path / "mpack"
    path.write_bytes(history.mpack())
    *_, last = history.commits
    with open_database(hub.settings) as database, open_objects(hub.settings) as objects:
        report = push(
            path,
            outline(path),
            Repos(database).find("ada/song"),
            heads={"main": last},
            force=False,
            pusher_id="ada",
            objects=objects,
            pushes=Pushes(database),
        )
    [job_id] = report.job_ids
    return job_id


def assert_done(there: Hub, job_id: str, history: History = HISTORY) -> None:
    row = there.job(job_id)
    assert (row["status"], row["error_code"], row["error"]) == ("done", None, None)
    assert there.head("repo-song") == list(history.commits)[-1]
    assert_index_holds(there, "repo-song", history)


def assert_put_back(there: Hub, job_id: str, code: str) -> str:
    """Return why: in one line, without what only the server's support can read."""
    row = there.job(job_id)
    assert (row["status"], row["error_code"]) == ("pending", code)
    assert set(there.counts().values()) == {0}
    for object_id, content in there.stored_objects().items():
        assert object_id == f"sha256:{sha256(content).hexdigest()}"
    assert "\n" not in row["error"]
    assert "4442587FB7D0A2F9" not in row["error"]
    return row["error"]


def reads_mpack(request: Request) -> bool:
    return request.is_for("GET", "/mpacks/")


def key_of_request(request: Request) -> str:
    return request.path.partition("/prefix/")[2].partition("?")[0]


def puts_object(request: Request) -> bool:
    return request.is_for("PUT", "/objects/")


def anything(request: Request) -> bool:
    return True


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (puts_object, busy),
        (puts_object, unanswered),
        (reads_mpack, reset),
        (reads_mpack, cut_off),
        (reads_mpack, slow),
    ],
    ids=["busy", "unanswered", "reset", "cut off", "slow"],
)
def test_what_is_over_soon_is_not_even_noticed(
    there: Hub,
    hub: Hub,
    way: FaultyS3,
    tmp_path: Path,
    bad: Callable[[Request], bool],
    fault: Fault,
) -> None:
    times = 1 if fault is slow else 3
    way.fault = failing = First(times, bad, fault)
    job_id = pushed(hub, tmp_path)

    index_batch(hub)

    assert failing.left == 0
    assert_done(there, job_id)
    assert there.job(job_id)["attempt"] == 1


@pytest.mark.parametrize(
    ("bad", "fault", "code", "reason"),
    [
        (reads_mpack, busy, "STORAGE_UNAVAILABLE", "SlowDown: Please reduce your request rate."),
        (puts_object, hung_up, "STORAGE_UNAVAILABLE", "HTTP error: error sending request"),
        (puts_object, spoiled_on_the_way, "STORAGE_UNAVAILABLE", "XAmzContentSHA256Mismatch"),
        (reads_mpack, cut_off, "STORAGE_UNAVAILABLE", "GET mpacks/"),
        (reads_mpack, spoiled, "MPACK_HASH_MISMATCH", " hash to "),
        (anything, away, "STORAGE_UNAVAILABLE", "status code: 404 Not Found"),
        (anything, skewed, "STORAGE_UNAVAILABLE", f"RequestTimeTooSkewed: {SKEWED}"),
    ],
    ids=["busy", "hung up", "spoiled puts", "cut off", "spoiled", "away", "skewed"],
)
def test_what_lasts_puts_the_job_back_with_its_reason_and_it_is_done_when_that_is_over(
    there: Hub,
    hub: Hub,
    way: FaultyS3,
    tmp_path: Path,
    bad: Callable[[Request], bool],
    fault: Fault,
    code: str,
    reason: str,
) -> None:
    job_id = pushed(hub, tmp_path)
    way.fault = First(999, bad, fault)

    index_batch(hub)

    assert reason in assert_put_back(there, job_id, code)

    way.fault = sound
    change(there, job_id, "not_before = now()")
    index_batch(hub)

    assert_done(there, job_id)
    assert there.job(job_id)["attempt"] == 2


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING" and record.name == "musehub_pipeline.objects"
    ]


@pytest.mark.parametrize(
    ("status", "code", "more"),
    [
        (501, "NotImplemented", ""),
        (400, "InvalidArgument", "<ArgumentName>If-None-Match</ArgumentName>"),
    ],
    ids=["501", "400"],
)
def test_a_server_without_conditions_is_asked_first_and_that_is_said_once(
    there: Hub,
    hub: Hub,
    way: FaultyS3,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str,
    more: str,
) -> None:
    way.fault = without_conditions(status, code, more)
    there.store.put(key_of(b"0" * 100), b"0" * 100)
    job_id = pushed(hub, tmp_path)

    index_batch(hub)

    assert_done(there, job_id)
    [warning] = warnings(caplog)
    assert f" knows no create-only put ({code}: A header you provided " in warning
    unconditional = [
        key_of_request(request)
        for request in way.asked
        if puts_object(request) and "if-none-match" not in request.headers
    ]
    assert sorted(unconditional) == sorted(
        key_of(content) for content in HISTORY.objects.values() if content != b"0" * 100
    )


def test_a_server_that_overlooks_conditions_does_no_harm(
    there: Hub, hub: Hub, way: FaultyS3, tmp_path: Path
) -> None:
    way.fault = heedless(way)
    there.store.put(key_of(b"0" * 100), b"0" * 100)
    there.store.put(key_of(b"1" * 100), b"cut")
    job_id = pushed(hub, tmp_path)

    index_batch(hub)

    assert_done(there, job_id)


def test_who_may_not_list_can_push_index_and_heal(
    there: Hub, hub: Hub, ceph_s3: CephS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clerk = f"clerk-{uuid4().hex}"
    ceph_s3.add_user(clerk)
    # What somebody puts is theirs: the owner of the bucket needs a grant as well.
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]},
            "Action": actions,
            "Resource": [f"arn:aws:s3:::{bucket_of(there)}{part}" for part in ("", "/*")],
        }
        for user, actions in {clerk: ["s3:GetObject", "s3:PutObject"], "test": ["s3:*"]}.items()
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    with closing(ceph_s3.client()) as client:
        client.put_bucket_policy(Bucket=bucket_of(there), Policy=policy)
    keys = {"aws_access_key_id": clerk, "aws_secret_access_key": clerk}
    office = Hub(hub.settings.model_copy(update=keys))

    for history in (HISTORY, LARGE):  # an mpack of one request, and one of several
        job_id = pushed(office, tmp_path, history)
        index_batch(office)
        assert_done(there, job_id, history)
    there.store.delete(key_of(b"0" * 100))
    index_again(office)

    assert_done(there, job_id, LARGE)
    assert warnings(caplog) == []


def test_a_missing_mpack_is_none_for_sure_where_nobody_may_list(
    there: Hub, hub: Hub, way: FaultyS3, tmp_path: Path
) -> None:
    way.fault = secretive
    job_id = pushed(hub, tmp_path)
    key = f"mpacks/{there.job(job_id)['payload']['mpack_key'][7:]}"
    mpack = bytes(there.store.get(key).bytes())
    there.store.delete(key)

    index_batch(hub)

    said = assert_put_back(there, job_id, "STORAGE_UNAVAILABLE")
    assert said == (
        f"{hub.settings.storage_url}: GET {key}: AccessDenied: Access Denied (needed are"
        " s3:GetObject, s3:PutObject and s3:ListBucket, to remove also s3:DeleteObject; without"
        " s3:ListBucket, what is missing is denied, too)"
    )

    there.upload(mpack)
    change(there, job_id, "not_before = now()")
    index_batch(hub)

    assert_done(there, job_id)


def make_locked_bucket(server: CephS3) -> str:
    """Make a bucket that keeps for a day what is put into it, and return its name."""
    bucket = f"test-{uuid4().hex}"
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    with closing(server.client()) as client:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    return bucket


def test_a_bucket_under_object_lock_gets_checksums(
    there: Hub,
    hub: Hub,
    way: FaultyS3,
    ceph_s3: CephS3,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"s3://{make_locked_bucket(ceph_s3)}/some/prefix"
    there, hub = (Hub(h.settings.model_copy(update={"storage_url": url})) for h in (there, hub))
    way.fault = locked

    job_id = pushed(hub, tmp_path, LARGE)
    [warning] = warnings(caplog)
    assert f"{url} wants checksums (InvalidRequest: Content-MD5 OR x-amz-checksum" in warning
    index_batch(hub)

    assert_done(there, job_id, LARGE)
    assert len(warnings(caplog)) == 2  # one for each client
    sent = [r for r in way.asked if puts_object(r) and "x-amz-checksum-sha256" in r.headers]
    assert {key_of_request(request) for request in sent} == {
        key_of(content) for content in LARGE.objects.values()
    }


def test_a_bucket_with_versions_loses_and_gets_bytes_like_any_other(
    there: Hub, ceph_s3: CephS3, tmp_path: Path
) -> None:
    there.create_repo()
    bucket = bucket_of(there)
    with closing(ceph_s3.client()) as client:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    job_id = pushed(there, tmp_path)
    index_batch(there)
    assert_done(there, job_id)
    lost, cut = key_of(b"0" * 100), key_of(b"1" * 100)
    there.store.delete(lost)
    there.store.put(cut, b"cut")

    index_again(there)

    assert_done(there, job_id)
    with closing(ceph_s3.client()) as client:
        found = client.list_object_versions(Bucket=bucket, Prefix="some/prefix/objects/")
    versions = [version["Key"].partition("/prefix/")[2] for version in found["Versions"]]
    assert (versions.count(lost), versions.count(cut)) == (2, 3)
    assert len(set(versions)) == len(HISTORY.objects)
