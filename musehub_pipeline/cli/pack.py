"""`pack`: a git repository's history → mpack."""

from pathlib import Path
from typing import Annotated

import typer

from musehub_pipeline.cli.console import err, print_json, print_pairs
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.client import pack as packing

_TOLD_APART = ("skipped_paths", "skipped_branches")


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
    Paths and branches that the pipeline would refuse, paths that are not UTF-8, and submodules are
    left out and reported. HEAD is packed as its branch, or as "detached" if it names none.
    """
    destination = output or Path(f"{repository.resolve().name or 'repository'}.mpack")
    with progress_bar("packing", "commits") as show:
        report = packing.pack(
            repository, destination, branches=branch, have=have or (), on_progress=show
        )
    warn_of_skipped(report)
    if as_json:
        print_json(report.as_dict() | {"path": str(destination)})
        return
    told = {name: value for name, value in report.as_dict().items() if name not in _TOLD_APART}
    print_pairs({"file": destination, **told})


def warn_of_skipped(report: packing.PackReport) -> None:
    """Say what a pack had to leave out."""
    for path, why in report.skipped_paths.items():
        err.print(f"skipped {path}: {why}")
    for branch, why in report.skipped_branches.items():
        err.print(f"skipped branch {branch}: {why}")
    if report.skipped_submodules:
        err.print(f"skipped {report.skipped_submodules} submodules")
    if report.truncated_merges:
        err.print(f"kept two parents of {report.truncated_merges} octopus merges")
