"""Dagster's home: where its runs and their events are kept."""

import os
from importlib import resources
from pathlib import Path

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.settings import Settings


def use_dagster_home(settings: Settings) -> Path:
    """Set DAGSTER_HOME to a folder in the home, unless it is set, and return it.

    Raises:
        SettingsError: DAGSTER_HOME is set to what is no folder.
    """
    if given := os.environ.get("DAGSTER_HOME"):
        if not Path(given).is_absolute() or not Path(given).is_dir():
            raise SettingsError(f"DAGSTER_HOME: {given!r} is not the absolute path of a folder")
        return Path(given)
    folder = settings.home.resolve() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = resources.files("musehub_pipeline.orchestration").joinpath("dagster.yaml")
    (folder / "dagster.yaml").write_bytes(configuration.read_bytes())
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder
