"""`db`: the tables."""

from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import EXIT_NOT_OK, out, print_json, print_rows
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Create, upgrade and look at the tables.")


@app.command()
def upgrade() -> None:
    """Create the tables, or bring them up to date; nothing that is there is destroyed.

    In a database of the hub only what is missing is added. If something there cannot work, the
    differences are listed with the SQL that would reconcile them, and nothing is changed.
    """
    with Database(local.find_database(Settings.load())) as database:
        out.print(f"the tables are at revision {migrate.upgrade(database)}")


@app.command()
def current(as_json: JsonFlag = False) -> None:
    """Show which revision the tables are at; exit with 3 if an upgrade is due."""
    with Database(local.find_database(Settings.load())) as database:
        revision = migrate.current(database)
    if as_json:
        print_json({"revision": revision, "latest": migrate.latest()})
    else:
        out.print(f"revision {revision}, latest {migrate.latest()}")
    if migrate.is_due(revision):
        raise typer.Exit(EXIT_NOT_OK)


@app.command()
def query(
    statement: Annotated[
        str, typer.Argument(help="One statement that gives rows: SELECT, SHOW, EXPLAIN.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Run a query and show its rows; it may only read.

    A statement that gives no rows is refused before it runs, and so is a second statement. The
    transaction may not write. If the role of MUSEHUB_DATABASE_URL is a superuser, as in the
    embedded PostgreSQL, the query runs as pg_read_all_data. That role may read all rows, but no
    file, and may run no program.

    This guards against slips, not against malice: whoever can run this command knows the URL, and
    can log in with it.
    """
    with Database(local.find_database(Settings.load())) as database:
        columns, rows = database.query(statement)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_rows(columns, rows)
