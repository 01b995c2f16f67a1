"""Dagster's home: where its runs and their events are kept."""

import os
import shutil
from pathlib import Path

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.settings import Settings

_FOLDER = Path(__file__).parent

REPOSITORY_TAG = {".dagster/repository": "__repository__@musehub_pipeline"}
"""What the UI finds the runs of a job by; the location is called as in workspace.yaml."""


def workspace() -> Path:
    """Return the file that names the code location."""
    return _FOLDER / "workspace.yaml"


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
    if not (folder / "dagster.yaml").exists():  # an operator's own stays
        shutil.copyfile(_FOLDER / "dagster.yaml", folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder
