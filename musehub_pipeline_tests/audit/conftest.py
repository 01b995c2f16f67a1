"""What the tests of fsck break."""

import pytest

from musehub_pipeline_tests.audit.checking import World, push_world
from musehub_pipeline_tests.hub import Hub


@pytest.fixture
def world(hub: Hub) -> World:
    """A repo with a full, a thin, a repeated and a forced push, and a fork of how it began."""
    return push_world(hub)
