"""What benchmarks share: a folder, servers that start on first need, mpacks, and pushes of them."""

import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import dagster as dg
import msgspec
import psutil
import psycopg

from musehub_pipeline.domain.job import payload_of
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES, Phase
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.benchmarks.light_s3 import LightS3, link
from musehub_pipeline_tests.benchmarks.mpacks import BRANCH, Mpack, Shape, write_mpack
from musehub_pipeline_tests.benchmarks.server_process import MotoProcess
from musehub_pipeline_tests.servers.ceph import CephS3, missing_packages
from musehub_pipeline_tests.servers.moto import REGION, S3Server
from musehub_pipeline_tests.servers.postgres import Postgres

BUCKET = "benchmarks"
REPO_ID = "benchmark"

_TEMPLATE = "template_musehub"


class Bench:
    """The surroundings of benchmarks; a context manager that stops its servers in the end.

    Nothing is deleted before: on ext4, creating files is slow for minutes after many deletions.
    """

    def __init__(self, folder: Path, *, runs: int, quick: bool) -> None:
        self.folder = folder
        self.runs = runs
        self.scale = 10 if quick else 1
        self._stack = ExitStack()
        self._mpacks: dict[Shape, Mpack] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def some(self, number: int) -> int:
        """Return a tenth of a number where the benchmarks should be quick."""
        return max(1, number // self.scale)

    def new_folder(self, name: str) -> Path:
        """Make an empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def mpack(self, shape: Shape) -> Mpack:
        """Return the mpack of a shape; its file is in the page cache."""
        if shape not in self._mpacks:
            path = self.folder / f"{len(self._mpacks)}.mpack"
            self._mpacks[shape] = write_mpack(path, shape)
            os.sync()  # else the disk is still busy with it when the clock runs
        return self._mpacks[shape]

    @cached_property
    def postgres(self) -> Postgres:
        """A PostgreSQL that syncs to disk, as in production, with a database to copy."""
        server = self._stack.enter_context(Postgres(durable=True))
        with Database(server.create_database(_TEMPLATE)) as database:
            migrate.upgrade(database)
        return server

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make a database with empty tables and a repo, yield its URL and drop it in the end."""
        name = f"bench_{uuid.uuid4().hex}"
        url = self.postgres.create_database(name, template=_TEMPLATE)
        with Database(url) as database, database.transaction() as transaction:
            row = {"repo_id": REPO_ID, "owner": "bench", "slug": "bench", "default_branch": BRANCH}
            transaction.write("create_repo", row)
        try:
            yield url
        finally:
            self.postgres.drop_database(name)

    @contextmanager
    def dagster(self) -> Iterator[dg.DagsterInstance]:
        """Open a Dagster of its own that keeps its records in PostgreSQL, as in production."""
        with patch.dict(os.environ), self.database() as url_beside:
            os.environ.pop("DAGSTER_HOME", None)
            use_dagster_home(self.settings(url_beside))
            with dagster_instance() as instance:
                yield instance

    @cached_property
    def s3(self) -> S3Server:
        """A real S3 server: Ceph's gateway, or moto where that is not installed."""
        if missing_packages():
            server: S3Server = self._stack.enter_context(MotoProcess())
        else:
            server = self._stack.enter_context(CephS3())
        server.create_bucket(BUCKET)
        return server

    @property
    def s3_name(self) -> str:
        """What `s3` is."""
        return "Ceph RGW" if isinstance(self.s3, CephS3) else "moto"

    @contextmanager
    def light_s3(self) -> Iterator[LightS3]:
        """Run an empty S3 server that leaves the machine to its clients."""
        with LightS3(self.new_folder("light-s3")) as server:
            server.create_bucket(BUCKET)
            yield server

    def settings(self, database_url: str, *, s3: S3Server | None = None) -> Settings:
        """Return settings for a database and a new place in a bucket, or a new directory."""
        values: dict[str, Any] = {
            "home": self.folder / "home",
            "scratch_dir": self.folder / "run",
            "database_url": database_url,
        }
        if s3 is None:
            values["storage_url"] = self.new_folder("store").as_uri()
        else:
            values |= {
                "storage_url": f"s3://{BUCKET}/{uuid.uuid4().hex}",
                "endpoint_url": s3.endpoint_url,
                "region_name": REGION,
                "AWS_ACCESS_KEY_ID": s3.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            }
        return Settings.load(values)

    @contextmanager
    def unpacked(self, shape: Shape, phases: Sequence[Phase]) -> Iterator[tuple[Batch, Services]]:
        """Claim a push of an mpack in a new database, with a new directory as its storage.

        Yields the batch after `phases`, and the services.
        """
        mpack = self.mpack(shape)
        with (
            self.database() as database_url,
            open_services(settings := self.settings(database_url)) as services,
        ):
            upload(settings, None, mpack)
            batch = claim_jobs(services, run_id="bench", job_ids=[push(database_url, mpack)])
            for phase in phases:
                batch = sound(phase(batch, services))
            yield batch, services


def upload(settings: Settings, server: S3Server | None, mpack: Mpack) -> None:
    """Put an mpack where a client would."""
    url = str(settings.storage_url)
    hex_digest = mpack.key[-64:]
    if isinstance(server, LightS3):
        server.serve(mpack.path, f"{url}/mpacks/{hex_digest}")
    elif server is None:
        link(mpack.path, Path(url.removeprefix("file://")) / "mpacks" / hex_digest)
    else:
        with ObjectStorage(url, s3=settings.s3) as storage:
            storage.put_mpack(mpack.path, hex_digest)


def push(database_url: str, mpack: Mpack) -> str:
    """Insert the job row that the hub would, and return its id."""
    job_id = uuid.uuid4().hex
    payload = payload_of(
        mpack_key=mpack.key,
        pusher_id="bench",
        branch=BRANCH,
        head=mpack.head,
        declared_objects_count=mpack.objects,
    )
    with Database(database_url) as database, database.transaction() as transaction:
        transaction.write(
            "enqueue",
            {
                "job_id": job_id,
                "repo_id": REPO_ID,
                "payload": msgspec.json.encode(payload).decode(),
            },
        )
    return job_id


def status(database_url: str, job_id: str) -> str:
    """Return the status of a job."""
    with Database(database_url) as database, database.transaction() as transaction:
        row = transaction.row("job", {"job_id": job_id})
    return "" if row is None else row["status"]


def index(services: Services, job_id: str) -> dict[str, Any]:
    """Take a job from claim to summary, without Dagster, and return its result."""
    batch = claim_jobs(services, run_id=uuid.uuid4().hex, job_ids=[job_id])
    for phase in PHASES:
        batch = phase(batch, services)
    (result,) = sound(summarize(batch, services)).results
    return result


def sound(batch: Batch) -> Batch:
    """Return a batch in which all went well: a job that failed early would be fast."""
    for item in batch.items:
        if item.error is not None:
            raise item.error
    assert batch.items
    return batch


def checkpoint(database_url: str) -> None:
    """Let the server write what it holds back, so that it does not while the clock runs."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    os.sync()


def file_system(folder: Path) -> str:
    """Return the type of the file system on which a folder lies."""
    place = folder.resolve()
    mounts = {Path(found.mountpoint): found.fstype for found in psutil.disk_partitions(all=True)}
    return next((mounts[path] for path in (place, *place.parents) if path in mounts), "?")
