"""The three policies of `deploy/s3`: each allows all that it is for, and nothing else."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import BaseError

from musehub_pipeline.phases.services import open_objects
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.audit.damaging import key_of
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_batch
from musehub_pipeline_tests.servers.ceph import CephS3
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

pytestmark = pytest.mark.slow  # Ceph takes seconds to start

POLICIES = Path(__file__).parents[2] / "deploy/s3"
WORKER, READER, OPERATOR = roles = ("worker", "reader", "operator")

HISTORY = History()
HISTORY.commit({"some": b"some", "empty": b"", "large": bytes(range(256)) * 36_000})  # in two parts
OBJECT_ID = next(iter(HISTORY.objects))
ELSEWHERE = "some/prefixed"

As = Callable[[str], Hub]


@pytest.fixture
def hub(settings: Settings, ceph_s3: CephS3) -> Hub:
    """The hub, whose bucket it is."""
    return Hub(s3_settings(settings, ceph_s3))


@pytest.fixture
def as_(hub: Hub, ceph_s3: CephS3, monkeypatch: pytest.MonkeyPatch) -> As:
    """Be whom a policy is for: the hub as they see it."""
    bucket, prefix = str(hub.settings.storage_url).removeprefix("s3://").split("/", 1)
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", str(hub.settings.database_url))
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", str(hub.settings.storage_url))
    monkeypatch.setenv("MUSEHUB_HOME", str(hub.settings.home))
    for name, value in ceph_s3.aws_environment().items():
        monkeypatch.setenv(name, value)

    def be(role: str) -> Hub:
        name = f"{role}-{uuid4().hex}"
        policy = (POLICIES / f"{role}.json").read_text("utf-8")
        ceph_s3.add_user(name)
        ceph_s3.allow(name, policy.replace("BUCKET", bucket).replace("PREFIX", prefix))
        keys = {"aws_access_key_id": name, "aws_secret_access_key": name}
        for key in keys:
            monkeypatch.setenv(key.upper(), name)
        return Hub(hub.settings.model_copy(update=keys))

    return be


@pytest.fixture(params=roles)
def anyone(request: pytest.FixtureRequest, as_: As) -> Iterator[Hub]:
    return as_(request.param)


def denied(request: Callable[[], object]) -> None:
    with pytest.raises(BaseError, match="AccessDenied"):
        request()


def beside(hub: Hub) -> Hub:
    """Return the hub with a place in the same bucket that is none of its own."""
    bucket = str(hub.settings.storage_url).split("/")[2]
    elsewhere = {"storage_url": f"s3://{bucket}/{ELSEWHERE}"}
    return Hub(hub.settings.model_copy(update=elsewhere))


def test_the_worker_indexes_a_push_and_heals(hub: Hub, as_: As) -> None:
    job_id = hub.push(hub.create_repo(), HISTORY.mpack())
    worker = as_(WORKER)

    index_batch(worker)

    assert hub.job(job_id)["status"] == "done"
    worker.store.head(key_of(OBJECT_ID))
    hub.store.delete(key_of(OBJECT_ID))
    index_again(worker)
    worker.store.head(key_of(OBJECT_ID))


def test_the_worker_is_told_that_an_mpack_is_missing(hub: Hub, as_: As) -> None:
    mpack = HISTORY.mpack()
    job_id = hub.push(hub.create_repo(), mpack)
    hub.store.delete(f"mpacks/{sha256(mpack).hexdigest()}")

    index_batch(as_(WORKER))

    row = hub.job(job_id)
    assert (row["status"], row["error_code"]) == ("failed", "MPACK_MISSING")


def test_the_worker_neither_removes_nor_pushes_nor_lists_objects(hub: Hub, as_: As) -> None:
    mpack = HISTORY.mpack()
    hub.push(hub.create_repo(), mpack)
    worker = as_(WORKER)
    index_batch(worker)
    key = f"mpacks/{sha256(mpack).hexdigest()}"

    denied(lambda: worker.store.delete(key))
    denied(lambda: worker.store.delete(key_of(OBJECT_ID)))
    denied(lambda: worker.store.put(key, b"other bytes"))
    denied(lambda: worker.store.put(f"mpacks/{'0' * 64}", b"a push of nobody's"))
    denied(lambda: worker.store.list("objects/").collect())


def test_the_reader_checks_all_and_writes_nothing(hub: Hub, as_: As) -> None:
    hub.push(hub.create_repo(), HISTORY.mpack())
    index_batch(as_(WORKER))
    reader = as_(READER)

    for command in (["fsck"], ["fsck", "--deep"], ["fsck", "--orphans"], ["backfill", "discover"]):
        assert call(*command).code == 0, command
    denied(lambda: reader.store.put(key_of(OBJECT_ID), b"other bytes"))
    denied(lambda: reader.store.put(f"mpacks/{'0' * 64}", b"a push of nobody's"))
    denied(lambda: reader.store.delete(key_of(OBJECT_ID)))


def test_the_operator_heals_and_removes_objects_and_no_mpack(hub: Hub, as_: As) -> None:
    mpack = HISTORY.mpack()
    hub.push(hub.create_repo(), mpack)
    index_batch(as_(WORKER))
    key, orphan = f"mpacks/{sha256(mpack).hexdigest()}", b"named by no row"
    hub.store.put(key_of(f"sha256:{sha256(orphan).hexdigest()}"), orphan)
    hub.store.delete(key_of(OBJECT_ID))
    operator = as_(OPERATOR)

    assert call("fsck", "--repair").code == 0
    with open_objects(operator.settings) as objects:  # as `fsck --prune-orphans` does after an hour
        objects.delete_objects([sha256(orphan).digest()])

    assert_index_holds(operator, "repo-song", HISTORY)
    assert set(operator.stored_objects()) == set(HISTORY.objects)
    denied(lambda: operator.store.delete(key))
    denied(lambda: operator.store.delete([key, key_of(OBJECT_ID)]))
    denied(lambda: operator.store.put(f"mpacks/{'0' * 64}", b"a push of nobody's"))


def test_nobody_reaches_what_lies_beside_the_prefix(hub: Hub, anyone: Hub) -> None:
    obstore.put(beside(hub).store, "objects/theirs", b"theirs")

    denied(lambda: beside(anyone).store.get("objects/theirs"))
    denied(lambda: beside(anyone).store.put("objects/ours", b"ours"))
    denied(lambda: beside(anyone).store.delete("objects/theirs"))
    denied(lambda: beside(anyone).store.list("objects/").collect())
