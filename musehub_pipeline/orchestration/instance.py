"""Dagster's instance, and its home: where runs and their events are kept.

Dagster is loaded where an instance is opened: `dev` only starts it, and need not wait for that.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from musehub_pipeline.domain.errors import PipelineError, SettingsError
from musehub_pipeline.domain.escapes import first_line
from musehub_pipeline.postgres.server import database_url, ensure_database, unavailable
from musehub_pipeline.postgres.session import asked_of_others, connect
from musehub_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

_FOLDER = Path(__file__).parent
_VARIABLE = "MUSEHUB_DAGSTER_DATABASE_URL"

_NO_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}

LOCATION_TAG = ".dagster/repository"
"""The tag by which Dagster tells the runs of a code location from those of others."""

PROCESS_TAG = "musehub/process"
"""The tag that says where a run runs: host, pid, and the second in which that process began."""

RUN_TITLE = "musehub-pipeline run"
"""How the process of a run is called, where processes are listed; its id follows."""

OUR_TAGS = {LOCATION_TAG: "__repository__@musehub_pipeline"}
"""What the UI finds the runs of a command by; the location is called as in workspace.yaml."""


def code_locations(called: str | None) -> list[str]:
    """Return the names of this code location: as it is `called`, and as its commands call it."""
    ours = OUR_TAGS[LOCATION_TAG]
    return sorted({ours, called or ours})


class RecordsUnavailable(PipelineError):
    """The database in which Dagster keeps its records could not be reached, or gave up."""


@contextmanager
def named_if_unavailable() -> Generator[None]:
    """Say in one line that Dagster's database is away, whatever Dagster makes of that.

    Raises:
        RecordsUnavailable: it is.
    """
    from dagster_postgres.utils import DagsterPostgresException

    try:
        yield
    except (DagsterPostgresException, DBAPIError) as error:
        line = first_line(str(error.__cause__ or error))
        raise RecordsUnavailable(f"Dagster's database: {line}") from error


def workspace() -> Path:
    """Return the file that names the code location."""
    return _FOLDER / "workspace.yaml"


def use_dagster_home(settings: Settings) -> Path:
    """Set DAGSTER_HOME to a folder in the home, unless it is set, and return it.

    Dagster's database is made beside that of the settings, unless another one is set.

    Raises:
        SettingsError: DAGSTER_HOME is set to what is no folder, or the database cannot be made.
    """
    if given := os.environ.get("DAGSTER_HOME"):
        if not Path(given).is_absolute() or not Path(given).is_dir():
            raise SettingsError(f"DAGSTER_HOME: {given!r} is not the absolute path of a folder")
        return Path(given)
    folder = settings.home.resolve() / "dagster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():  # an operator's own stays
        parts = [(_FOLDER / name).read_text("utf-8") for name in ("dagster.yaml", "storage.yaml")]
        (folder / "dagster.yaml").write_text("".join(parts), "utf-8")
    configured = settings.dagster_database_url is not None
    if not configured:
        _ensure_database_beside(settings)
    url = records_url(settings)
    _check(url, given=configured)
    # psycopg 3 would break how dagster-postgres notifies.
    url = url.set(drivername="postgresql+psycopg2")
    os.environ[_VARIABLE] = url.render_as_string(hide_password=False)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


@contextmanager
def dagster_instance() -> "Generator[dg.DagsterInstance]":
    """Open Dagster's instance: that of DAGSTER_HOME, else one that lives as long as the block.

    It does not keep what this process prints: that is for the terminal, and to copy it took a
    fifth of the time of a small run.

    Raises:
        RecordsUnavailable: its database cannot be reached.
    """
    import dagster as dg

    if home := os.environ.get("DAGSTER_HOME"):
        with named_if_unavailable():
            # Despite its name it opens the folder as it is, for good, but for what it overrides.
            opened = dg.DagsterInstance.local_temp(home, overrides=_NO_CAPTURE)
    else:
        opened = dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}})
    with opened as instance:
        yield instance


def restore_records(settings: Settings) -> None:
    """Make Dagster's database again, empty, where it is gone; one that was configured is not ours.

    Raises:
        SettingsError: it cannot be made.
        RecordsUnavailable: it was made, and is away again.
    """
    ours = settings.dagster_database_url is None and _VARIABLE in os.environ
    if ours and _ensure_database_beside(settings):
        import dagster as dg

        with named_if_unavailable(), dg.DagsterInstance.get():
            pass  # makes the tables


def _check(url: URL, *, given: bool) -> None:
    """Say at once, and once, why Dagster could not keep its records there.

    One that was given may be away for a moment: Dagster tries again, and says so.
    """
    try:
        asked_of_others(url)
    except SettingsError as error:
        raise SettingsError(f"{_VARIABLE}: {error}") from error
    except psycopg.Error as error:
        if not given:
            away = unavailable(url, error).message
            raise SettingsError(f"{_VARIABLE}: not set, and {away}") from error


def records_url(settings: Settings) -> URL:
    """Return the database in which Dagster keeps its records, unless its home says otherwise."""
    if settings.dagster_database_url is not None:
        return database_url(settings.dagster_database_url)
    hub = database_url(str(settings.database_url))
    return hub.set(database=f"{hub.database}_dagster")


def _ensure_database_beside(settings: Settings) -> bool:
    """Make the database beside the hub's, unless it is there; return whether it was not."""
    hub = database_url(str(settings.database_url))
    name = str(records_url(settings).database)
    try:
        made = ensure_database(hub, name)
        if made:
            _relax(hub, name)
    except psycopg.Error as error:
        raise SettingsError(
            f"{_VARIABLE}: not set, and the database {name!r} cannot be made:"
            f" {first_line(str(error))}"
        ) from error
    return made


def _relax(url: URL, name: str) -> None:
    """Let events not wait for the disk: what a crash takes of them is no truth (ADR 4)."""
    with connect(url) as connection:
        statement = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
        connection.execute(statement.format(sql.Identifier(name)))
