"""The command line: `musehub-pipeline`. Errors go to stderr, what a script reads to stdout."""

import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import psycopg
import typer

from musehub_pipeline.cli import backfill, db, deploy, jobs
from musehub_pipeline.cli.console import err, out
from musehub_pipeline.cli.demo import demo
from musehub_pipeline.cli.dev import dev
from musehub_pipeline.cli.doctor import doctor
from musehub_pipeline.cli.fsck import fsck
from musehub_pipeline.cli.index import index
from musehub_pipeline.cli.metrics import metrics
from musehub_pipeline.cli.pack import pack
from musehub_pipeline.cli.push import push
from musehub_pipeline.cli.stats import stats
from musehub_pipeline.cli.status import status
from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.escapes import first_line
from musehub_pipeline.parallel import share_what_is_free

EXIT_ERROR = 1

_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)

app = typer.Typer(
    name="musehub-pipeline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # else paragraphs keep the line ends of the source
    context_settings={"help_option_names": ["--help", "-h"]},
    help=(
        "The indexing pipeline of MuseHub: turns pushed mpacks into an index.\n\n"
        "Settings come from MUSEHUB_* variables; with none set, everything lives in ./.musehub."
        " Exit codes: 0 done; 1 an error, which stderr names; 2 wrong usage; 3 the command ran, but"
        " something that it was asked for did not happen, or it found something wrong (--strict,"
        " status --check, fsck, doctor, demo, jobs retry, cancel and resume, db current); 130 or"
        " 143 stopped by a signal."
    ),
)
app.command()(demo)
app.command()(dev)
app.command()(pack)
app.command()(push)
app.command()(index)
app.command()(fsck)
app.command()(status)
app.command()(stats)
app.command()(metrics)
app.command()(doctor)
app.add_typer(jobs.app, name="jobs")
app.add_typer(backfill.app, name="backfill")
app.add_typer(db.app, name="db")
app.add_typer(deploy.app, name="deploy")


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"musehub-pipeline {version('musehub-pipeline')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Take what stands before the command."""


def main() -> None:
    """Run the command line."""
    share_what_is_free()
    report_errors(app)


def report_errors(command: Callable[[], None]) -> None:
    """Run a command; an error of ours, or of the system, is one line on stderr and exit code 1."""
    # SIGTERM is a way to leave, like Ctrl-C: services stop, scratch files go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        command()
    except SystemExit as end:
        if end.code in _STOPPED:
            err.print("stopped")
        raise
    except PipelineError as error:
        _fail(str(error))
    except psycopg.Error as error:  # that the server can answer, but would not do what was asked
        _fail(f"the database refused: {first_line(str(error)) or type(error).__name__}")
    except BrokenPipeError:  # whoever read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except UnicodeEncodeError as error:
        _fail(f"not UTF-8: {error.object!r}")
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}")


def _fail(message: str) -> None:
    err.print(f"error: {message}")
    sys.exit(EXIT_ERROR)
