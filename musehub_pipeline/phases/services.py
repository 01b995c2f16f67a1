"""What a run works with: from settings to open services, for as long as the run lasts."""

import gc
import resource
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

from musehub_pipeline.index.index import Index
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.scratch import scratch_folder
from musehub_pipeline.objects.storage_client import S3Options
from musehub_pipeline.parallel import share_what_is_free
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.backoff import Backoff
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.heartbeat import Heartbeat
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.live_runs import Runs
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline.settings import Settings


@dataclass(frozen=True, kw_only=True)
class HubServices:
    """The hub's repos and jobs: what there is to do, and which runs are at it."""

    queue: Queue
    jobs: Jobs
    archive: Archive
    repos: Repos
    runs: Runs
    heartbeat: Heartbeat


@dataclass(frozen=True, kw_only=True)
class WorkServices:
    """What a run does its work with."""

    index: Index
    objects: ObjectStorage
    settings: Settings
    make_scratch: Callable[[], Path] = field(repr=False)

    @property
    def scratch(self) -> Path:
        """The scratch folder, made when it is first asked for: who only looks needs none.

        Raises:
            Transient: SCRATCH_UNAVAILABLE.
        """
        return self.make_scratch()


@dataclass(frozen=True, kw_only=True)
class Services(HubServices, WorkServices):
    """All of it: a phase asks for the part that it uses."""


@contextmanager
def open_services(settings: Settings, *, s3: S3Options | None = None) -> Generator[Services]:
    """Open the database and the storage; close them in the end, and remove the scratch folder.

    `settings` name both URLs: see `local.resolve`. `s3` replaces their way to S3.

    Raises:
        SettingsError: a URL is missing or not valid.
    """
    _spare_the_collector()
    _raise_open_files()
    share_what_is_free()
    with ExitStack() as stack:
        # Who says nothing for a lease's time has lost its jobs, and may not lock others out.
        database = stack.enter_context(open_database(settings, idle=settings.lease))
        objects = stack.enter_context(open_objects(settings, s3=s3))
        runs = Runs(database, lease=settings.lease)
        index = stack.enter_context(Index(database))
        folders = stack.enter_context(ExitStack())
        yield Services(
            queue=open_queue(database, settings),
            jobs=Jobs(database),
            archive=open_archive(database, settings),
            repos=Repos(database),
            runs=runs,
            # The last to come is the first to go: leases are given back before anything waits.
            heartbeat=stack.enter_context(Heartbeat(runs)),
            index=index,
            objects=objects,
            settings=settings,
            make_scratch=cache(
                lambda: folders.enter_context(scratch_folder(settings.scratch_root))
            ),
        )


@cache
def _spare_the_collector() -> None:
    """Have Python look for garbage only in what comes from now on, once a process.

    What is loaded by now stays, and is most of all: to go through all of Dagster took a sixth of a
    second each time, which came about once a run.
    """
    gc.freeze()


_OPEN_FILES = 10_240


@cache
def _raise_open_files() -> None:
    """Let the process open as many files as the system allows, once a process.

    Each mpack of a batch is open until the batch ends, and some systems begin with 256.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return
    with suppress(ValueError, OSError):  # where no limit is said, and yet there is one
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, most))


def open_database(settings: Settings, *, idle: timedelta | None = None) -> Database:
    """Return the database that the settings name; `idle` is as for `Database`.

    Raises:
        SettingsError: the URL is missing or not valid.
    """
    return Database(settings.database_url or "", idle=idle)


def open_objects(settings: Settings, *, s3: S3Options | None = None) -> ObjectStorage:
    """Return the object storage that the settings name; `s3` replaces their way to S3.

    Raises:
        SettingsError: the URL is missing or not valid.
    """
    return ObjectStorage(
        settings.storage_url or "", s3=s3 or settings.s3, threads=settings.storage_threads
    )


def open_queue(database: Database, settings: Settings) -> Queue:
    """Return the queue of a database, as the settings want it."""
    backoff = Backoff(
        read_again=timedelta(seconds=settings.read_again_seconds),
        max_attempts=settings.max_attempts,
        base_seconds=settings.retry_base_seconds,
        cap_seconds=settings.retry_cap_seconds,
    )
    return Queue(database, lease=settings.lease, backoff=backoff, max_kills=settings.max_kills)


def open_archive(database: Database, settings: Settings) -> Archive:
    """Return the past of a database's queue, as the settings want it."""
    return Archive(database, lease=settings.lease, max_kills=settings.max_kills)
