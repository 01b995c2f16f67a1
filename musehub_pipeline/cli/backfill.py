"""`backfill`: index what no push asks for."""

import typer

from musehub_pipeline.cli.discover import discover

app = typer.Typer(no_args_is_help=True, help="Index what no push asks for.")
app.command()(discover)
