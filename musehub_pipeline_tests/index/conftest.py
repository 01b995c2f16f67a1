"""An index."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.index.index import Index
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.hub import Hub


@pytest.fixture
def index(hub: Hub) -> Iterator[Index]:
    """The index of a hub."""
    with Database(str(hub.settings.database_url)) as database, Index(database) as index:
        yield index
