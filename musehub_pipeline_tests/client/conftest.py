"""A repository to pack, and where to."""

from pathlib import Path

import pytest

from musehub_pipeline_tests.client.repository import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "repository")


@pytest.fixture
def mpack(tmp_path: Path) -> Path:
    return tmp_path / "history.mpack"
