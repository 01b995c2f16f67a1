"""The command line finds its services in the environment, as it does with an operator."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.cli.orphans import MPACKS, backdate
from musehub_pipeline_tests.cli.terminal import Finished, Git, run
from musehub_pipeline_tests.conftest import bare_environment, s3_settings
from musehub_pipeline_tests.hub import Hub

_ONE_FILE_FOR_ALL_RUNS = {
    "module": "dagster._core.storage.event_log",
    "class": "ConsolidatedSqliteEventLogStorage",
}


@pytest.fixture(scope="session")
def dagster_home() -> Iterator[Path]:
    """One Dagster home for all: making it takes long."""
    with TemporaryDirectory(prefix="dagster-") as folder:
        ours = resources.files("musehub_pipeline.orchestration").joinpath("dagster.yaml")
        configuration = yaml.safe_load(ours.read_text())
        event_log = _ONE_FILE_FOR_ALL_RUNS | {"config": {"base_dir": folder}}
        configuration["event_log_storage"] = event_log
        Path(folder, "dagster.yaml").write_text(yaml.safe_dump(configuration))
        yield Path(folder)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table of a test is folded."""
    monkeypatch.setenv("COLUMNS", "400")


def put_into_environment(
    settings: Settings, dagster_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Say in variables what `settings` say."""
    variables = {
        "DAGSTER_HOME": dagster_home,
        "MUSEHUB_HOME": settings.home,
        "MUSEHUB_DATABASE_URL": settings.database_url,
        "MUSEHUB_STORAGE_URL": settings.storage_url,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def hub(settings: Settings, dagster_home: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub on a directory, which the environment describes."""
    put_into_environment(settings, dagster_home, monkeypatch)
    return Hub(settings)


@pytest.fixture(params=["directory", "moto"])
def any_hub(
    request: pytest.FixtureRequest,
    settings: Settings,
    dagster_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Hub:
    """A hub on a directory, then one on S3, which the AWS variables describe.

    Ceph's gateway takes long: tests that need it ask for it.
    """
    if request.param != "directory":
        server = request.getfixturevalue(f"{request.param}_s3")
        settings = s3_settings(settings, server)
        for name, value in server.aws_environment().items():
            monkeypatch.setenv(name, value)
    put_into_environment(settings, dagster_home, monkeypatch)
    return Hub(settings)


@pytest.fixture
def orphans(hub: Hub) -> Hub:
    """Mpacks that no job names, three, two and one days old; and a repository, ada/song."""
    hub.create_repo()
    for days, mpack in zip((3, 2, 1), MPACKS, strict=True):
        backdate(hub, hub.upload(mpack), timedelta(days=days))
    return hub


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository with two commits and three files."""
    repository = Git(tmp_path / "song")
    repository.commit("begin", {"a": b"a", "deep/b": b"b"})
    repository.commit("go on", {"c": b"c"})
    return repository


@dataclass(frozen=True)
class Demo:
    """A home on which a demo has run, the repository that it showed, and what it said."""

    home: Path
    git: Git
    finished: Finished


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """The first demo on a bare machine: with no variable set and an empty home."""
    with TemporaryDirectory(prefix="home-") as folder:
        home = Path(folder).resolve() / "home"  # short, as sockets want it
        git = Git(home.parent / "song")
        git.commit("begin", {"a": b"a", "deep/b": b"b"})
        git.commit("go on", {"c": b"c"})
        with bare_environment():
            finished = run("demo", "--git", git.path, home=home)
        yield Demo(home, git, finished)
