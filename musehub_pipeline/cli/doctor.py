"""`doctor`: whether all that the pipeline needs is there, and what to do where it is not."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple, TypedDict

import psycopg
import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import EXIT_NOT_OK, out, print_json
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.escapes import first_line
from musehub_pipeline.objects.scratch import scratch_folder
from musehub_pipeline.objects.storage_client import parse_storage_url
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline.settings import Settings

_PACKAGES = ("musehub-pipeline", "dagster", "psycopg", "sqlalchemy", "obstore", "msgspec")
_NO_MPACK = "0" * 64
_CLOCKS_APART = 60.0  # seconds; S3 refuses requests that are signed a quarter of an hour off


class Finding(TypedDict):
    """What was looked at, and how it is."""

    what: str
    ok: bool
    found: str
    advice: str  # where it is not


class _Look(NamedTuple):
    """One thing to look at: what it returns is found, what it raises is wrong."""

    what: str
    look: Callable[[Settings], str]
    advice: str


class _Wrong(PipelineError):
    """What was found is not as it should be."""


def doctor(as_json: JsonFlag = False) -> None:
    """Check that everything the pipeline needs is there; exit with 3 if anything is wrong.

    Each line says what was found and, if that is wrong, what to do. Nothing is changed, with two
    exceptions: embedded services start if none are configured, and Dagster's database is made if it
    is missing.
    """
    findings = list(_findings())
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            out.print(f"{'✔' if finding['ok'] else '✘'} {finding['what']}: {finding['found']}")
            if not finding["ok"]:
                out.print(f"  {finding['advice']}")
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(EXIT_NOT_OK)


def _findings() -> Iterator[Finding]:
    yield Finding(what="versions", ok=True, found=_versions(), advice="")
    try:
        settings = _resolved(Settings.load())
    except PipelineError as error:
        advice = "Correct the variable that is named; README.md explains it."
        yield Finding(what="settings", ok=False, found=str(error), advice=advice)
        return
    yield Finding(what="settings", ok=True, found=f"home {settings.home}", advice="")
    for what, look, advice in _LOOKS:
        try:
            yield Finding(what=what, ok=True, found=look(settings), advice="")
        except (PipelineError, OSError, psycopg.Error) as error:
            found = first_line(str(error)) or type(error).__name__
            yield Finding(what=what, ok=False, found=found, advice=advice)


def _resolved(settings: Settings) -> Settings:
    """Return settings with both URLs; tables of a configured database may be old."""
    if settings.database_url is None:
        return local.resolve(settings)
    home = settings.home.expanduser().resolve()
    return settings.model_copy(update={"home": home, "storage_url": local.find_storage(settings)})


def _versions() -> str:
    packages = (f"{name} {version(name)}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {', '.join(packages)}"


def _database(settings: Settings) -> str:
    with open_database(settings) as database, database.autocommit() as transaction:
        [(server, encoding, role)] = transaction.tuples("server")
    if encoding != "UTF8":
        raise _Wrong(f"{database.url.database} stores its texts in {encoding}, not in UTF8")
    return f"PostgreSQL {server}, {encoding}, as {role}"


def _tables(settings: Settings) -> str:
    with open_database(settings) as database:
        revision = migrate.current(database)
    if migrate.is_due(revision):
        raise _Wrong(f"they are at revision {revision}, this version needs {migrate.latest()}")
    return f"revision {revision}"


def _rights(settings: Settings) -> str:
    with open_database(settings) as database, database.autocommit() as transaction:
        missing = transaction.tuples("missing_rights", {"tables": list(metadata.tables)})
    if missing:
        raise _Wrong("missing: " + ", ".join(f"{may} on {table}" for table, may in missing))
    return "may read and write all tables"


def _clock(settings: Settings) -> str:
    with open_database(settings) as database:
        apart = (datetime.now(UTC) - database.now()).total_seconds()
    if abs(apart) > _CLOCKS_APART:
        raise _Wrong(f"this machine's is {apart:+.0f} s off the database's")
    return f"{apart:+.1f} s off the database's"


def _storage(settings: Settings) -> str:
    with open_objects(settings) as objects:
        if objects.mpack_size(_NO_MPACK) is not None:
            raise _Wrong(f"{objects.url} has an mpack that nobody can have made")
        first = next(objects.stored_mpacks(), None)
    folder = parse_storage_url(str(settings.storage_url)).directory
    if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
        raise _Wrong(f"{settings.storage_url} may not be written to")
    return f"{settings.storage_url}, {'mpacks are there' if first else 'no mpack yet'}"


def _scratch(settings: Settings) -> str:
    with scratch_folder(settings.scratch_root) as folder:
        free = shutil.disk_usage(folder).free
    if free < settings.batch_bytes:
        raise _Wrong(
            f"{settings.scratch_root} has {free:,} bytes free,"
            f" and a batch may take {settings.batch_bytes:,}"
        )
    return f"{settings.scratch_root}, {free:,} bytes free"


def _records(settings: Settings) -> str:
    from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home

    use_dagster_home(settings)
    with dagster_instance() as instance:
        runs = instance.get_runs_count()
        alive = sum(beat.healthy is True for beat in instance.get_daemon_statuses().values())
    return f"{runs} runs, {alive} daemons alive; `index` needs none"


_LOOKS = (
    _Look(
        "database",
        _database,
        "MUSEHUB_DATABASE_URL names PostgreSQL 14 or newer, with a database that was made WITH"
        " ENCODING 'UTF8'. docs/operating.md says more of poolers and roles.",
    ),
    _Look("tables", _tables, "Run: musehub-pipeline db upgrade"),
    _Look("rights", _rights, "GRANT them to the role."),
    _Look("clock", _clock, "Set the clocks of both machines by NTP."),
    _Look(
        "storage",
        _storage,
        "MUSEHUB_STORAGE_URL names a bucket or a directory that exists; for S3, see Stores in"
        " docs/operating.md for the rights that are needed.",
    ),
    _Look(
        "scratch",
        _scratch,
        "Give MUSEHUB_SCRATCH_DIR a local disk with room, or make MUSEHUB_BATCH_BYTES smaller. With"
        " S3, the largest mpack must fit too: MUSEHUB_MAX_MPACK_BYTES.",
    ),
    _Look(
        "Dagster's records",
        _records,
        "MUSEHUB_DAGSTER_DATABASE_URL names a database of PostgreSQL that Dagster may have for"
        " itself; unset, the role needs CREATEDB once.",
    ),
)
