"""What tests of runs share: a Dagster of their own."""

from collections.abc import Iterator

import dagster as dg
import pytest

from musehub_pipeline.orchestration.instance import dagster_instance


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster that lives as long as the test."""
    with dagster_instance() as opened:
        yield opened
