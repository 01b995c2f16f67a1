"""A queue, its past, an index, and what the tests of fsck break."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.storage.archive import Archive
from musehub_pipeline.storage.database import Database
from musehub_pipeline.storage.index import Index
from musehub_pipeline.storage.queue import Queue
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.storage.checking import World, push_world
from musehub_pipeline_tests.storage.queueing import LEASE


@pytest.fixture
def world(hub: Hub) -> World:
    """A repo with a full, a thin, a repeated and a forced push, and a fork of how it began."""
    return push_world(hub)


@pytest.fixture
def queue(hub: Hub) -> Iterator[Queue]:
    """The queue of a hub, in which a job has two attempts."""
    with Database(str(hub.settings.database_url)) as database:
        yield Queue(database, lease=LEASE, max_attempts=2, max_kills=3)


@pytest.fixture
def archive(hub: Hub) -> Iterator[Archive]:
    """The past of a hub's queue, in which three runs may die over a job."""
    with Database(str(hub.settings.database_url)) as database:
        yield Archive(database, lease=LEASE, max_kills=3)


@pytest.fixture
def index(hub: Hub) -> Iterator[Index]:
    """The index of a hub."""
    with Database(str(hub.settings.database_url)) as database, Index(database) as index:
        yield index
