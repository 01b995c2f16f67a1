"""A queue, and its past."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.archive import Archive
from musehub_pipeline.queue.queue import Queue
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import LEASE


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
