"""The environment of processes that a command starts: it names the command's own services."""

import os

from musehub_pipeline.settings import Settings


def environment_of(settings: Settings) -> dict[str, str]:
    """Return this process's environment with resolved settings in it: see `local.resolve`.

    Whoever is started with it uses the embedded services of this process, and starts none.
    """
    return os.environ | {
        "MUSEHUB_HOME": str(settings.home),
        "MUSEHUB_DATABASE_URL": str(settings.database_url),
        "MUSEHUB_STORAGE_URL": str(settings.storage_url),
        "MUSEHUB_SCRATCH_DIR": str(settings.scratch_root),
    }
