"""Dagster under which the tests work: one that many share, or one of a test's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.conftest import TEMPLATE, bare_environment, settings_of
from musehub_pipeline_tests.hub import Hub, disconnect
from musehub_pipeline_tests.servers.postgres import Postgres

MOST_RUNS = 10
"""As many runs as dagster.yaml allows at once."""
UNPACK_BUDGET_MS = 150
"""A small push is unpacked in a tenth of that, whatever the machine is busy with."""


@pytest.fixture
def dev(hub: Hub, tmp_path: Path) -> Iterator[Dev]:
    """One of the test's own, not started yet; whatever is left of it in the end is killed."""
    dev = Dev(hub, tmp_path)
    try:
        yield dev
    finally:
        dev.end()
        print(dev.log()[-2000:], file=sys.stderr)


@pytest.fixture
def warm(warm_of_all: Dev, request: pytest.FixtureRequest) -> Iterator[Dev]:
    """One that runs already and has seen no push, and that the test leaves as it was."""
    yield from _lend(warm_of_all, request)


@pytest.fixture
def busy(busy_of_all: Dev, request: pytest.FixtureRequest) -> Iterator[Dev]:
    """The same, where each push gets a run of its own, and many run at a time."""
    yield from _lend(busy_of_all, request)


@pytest.fixture(scope="package")  # idle as it is, it takes a tenth of a core
def warm_of_all(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """What is lent as `warm`."""
    budgets = f"unpack_ms={UNPACK_BUDGET_MS}"
    yield from _share(postgres, tmp_path_factory.mktemp("warm"), MUSEHUB_PHASE_BUDGETS_MS=budgets)


@pytest.fixture(scope="package")
def busy_of_all(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """What is lent as `busy`."""
    yield from _share(
        postgres,
        tmp_path_factory.mktemp("busy"),
        MUSEHUB_BATCH_JOBS=1,
        MUSEHUB_MAX_CONCURRENT_RUNS=MOST_RUNS,
    )


def _share(postgres: Postgres, folder: Path, **variables: object) -> Iterator[Dev]:
    with bare_environment():
        hub = Hub(settings_of(postgres.create_database(folder.name, TEMPLATE), folder))
        dev = Dev(hub, folder, **variables)
    try:
        yield dev
        assert not dev.lives() or dev.stop() == 0
    finally:
        dev.end()
        disconnect(str(hub.settings.database_url))


def _lend(dev: Dev, request: pytest.FixtureRequest) -> Iterator[Dev]:
    failures = request.session.testsfailed
    is_as_it_was = False
    try:
        dev.begin_anew()
        yield dev
        if request.session.testsfailed == failures:
            dev.settle()
            is_as_it_was = True
    finally:
        print(dev.log()[-2000:], file=sys.stderr)
        if not is_as_it_was:
            dev.end()
