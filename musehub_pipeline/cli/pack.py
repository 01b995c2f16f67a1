"""`pack`: a git repository's history → mpack."""

from pathlib import Path
from typing import Annotated

import typer

from musehub_pipeline.cli.console import err, print_json, print_pairs
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.client import pack as packing


def pack(
    repository: Annotated[Path, typer.Argument(help="A git repository, bare or not.")] = Path(),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write.", show_default="NAME.mpack"),
    ] = None,
    branch: Annotated[
        list[str] | None,
        typer.Option("--branch", "-b", help="A branch to pack; repeatable.", show_default="all"),
    ] = None,
    have: Annotated[
        list[str] | None,
        typer.Option(help="A commit that the receiver has; repeatable. Makes a thin mpack."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Turn a git repository's history into an mpack.

    Every commit becomes a Muse commit with its snapshot and its objects; merges keep both parents.
    Paths that are not UTF-8, and submodules, are left out and reported.
    """
    destination = output or Path(f"{repository.resolve().name or 'repository'}.mpack")
    with progress_bar("packing", "commits") as show:
        report = packing.pack(
            repository, destination, branches=branch, have=have or (), on_progress=show
        )
    if as_json:
        print_json(report.as_dict() | {"path": str(destination)})
        return
    print_pairs({"file": destination, **report.as_dict()}, title=None)
    warn_of_skipped(report)


def warn_of_skipped(report: packing.PackReport) -> None:
    """Say what a pack had to leave out."""
    if report.skipped_paths_count:
        paths = ", ".join(report.skipped_paths)
        err.print(f"skipped {report.skipped_paths_count} paths that are not UTF-8: {paths}")
    if report.skipped_submodules:
        err.print(f"skipped {report.skipped_submodules} submodules")
    if report.truncated_merges:
        err.print(f"kept two parents of {report.truncated_merges} octopus merges")
