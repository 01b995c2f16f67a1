"""A container without an image, on services of this machine."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from musehub_pipeline_tests.deploy.container import Container, build, seen_in_there
from musehub_pipeline_tests.servers.moto import S3Server
from musehub_pipeline_tests.servers.postgres import Postgres


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, as its wheel has it."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def container(
    package: Path, postgres: Postgres, database_url: str, moto_s3: S3Server, tmp_path: Path
) -> Container:
    """A container on a hub's database and an empty bucket."""
    if os.geteuid() != 0:
        pytest.skip("only root can make another root")
    bucket = f"test-{uuid4().hex}"
    moto_s3.create_bucket(bucket)
    return Container(
        package=package,
        postgres=postgres,
        folder=tmp_path / "container",
        environment={
            **moto_s3.aws_environment(),
            "MUSEHUB_STORAGE_URL": f"s3://{bucket}/some/prefix",
            "MUSEHUB_DATABASE_URL": seen_in_there(postgres, database_url),
        },
    )
