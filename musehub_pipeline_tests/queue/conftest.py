"""A queue, and its past."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.live_runs import Runs
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import BACKOFF, LEASE


@pytest.fixture
def queue(hub: Hub) -> Iterator[Queue]:
    """The queue of a hub, in which a job has two attempts."""
    with Database(str(hub.settings.database_url)) as database:
        yield Queue(database, lease=LEASE, backoff=BACKOFF, max_kills=3)


@pytest.fixture
def archive(hub: Hub) -> Iterator[Archive]:
    """The past of a hub's queue, in which three runs may die over a job."""
    with Database(str(hub.settings.database_url)) as database:
        yield Archive(database, lease=LEASE, max_kills=3)


@pytest.fixture
def runs(hub: Hub) -> Iterator[Runs]:
    """The runs that work on a hub's queue."""
    with Database(str(hub.settings.database_url)) as database:
        yield Runs(database, lease=LEASE)


@pytest.fixture
def jobs(hub: Hub) -> Iterator[Jobs]:
    """The rows of a hub's queue."""
    with Database(str(hub.settings.database_url)) as database:
        yield Jobs(database)
