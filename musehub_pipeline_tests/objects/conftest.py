"""Storage of each kind, without a database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import CEPH, MOTO, s3_settings
from musehub_pipeline_tests.hub import Hub


@pytest.fixture(params=["directory", MOTO, CEPH])
def any_hub(request: pytest.FixtureRequest, tmp_path: Path) -> Hub:
    """A hub's storage of each kind in turn; its database is not needed here."""
    (tmp_path / "store").mkdir()
    settings = Settings.load(
        {"home": tmp_path / "home", "storage_url": (tmp_path / "store").as_uri()}
    )
    if request.param == "directory":
        return Hub(settings)
    return Hub(s3_settings(settings, request.getfixturevalue(f"{request.param}_s3")))


@pytest.fixture
def storage(any_hub: Hub) -> Iterator[ObjectStorage]:
    with ObjectStorage(str(any_hub.settings.storage_url), s3=any_hub.settings.s3) as storage:
        yield storage
