"""`backfill`: index again what was pushed long ago, or what no push asks for."""

import typer

from musehub_pipeline.cli.backfill_discover import discover
from musehub_pipeline.cli.backfill_plan import plan
from musehub_pipeline.cli.backfill_run import run
from musehub_pipeline.cli.backfill_status import status

app = typer.Typer(no_args_is_help=True, help="Index again what was pushed long ago.")
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(discover)
