"""`deploy`: the files of an installation in production."""

import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from musehub_pipeline.cli.console import out
from musehub_pipeline.domain.errors import PipelineError

app = typer.Typer(no_args_is_help=True, help="Write the files that production is made of.")

_SHIPPED = {"dagster.yaml", "workspace.yaml", "environment", "nginx.conf"}
_SERVICE = ".service"
_PROGRAMS = "/opt/musehub-pipeline/bin"  # as the files have it
_FOLDER = "/srv/musehub-pipeline"


class NotEmpty(PipelineError):
    """The folder to write to has files already."""


@app.callback()
def _group() -> None:
    """Have `init` named, though it is the only one."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="DIR")],
    celery: Annotated[
        bool, typer.Option("--celery", help="Have runs executed by Celery workers.")
    ] = False,
) -> None:
    """Write Dagster's files, an environment, systemd units and a site of nginx; overwrite nothing.

    DIR is what services have as DAGSTER_HOME. Fill in the environment, create the tables with
    `db upgrade`, then copy the units to /etc/systemd/system, as root. deploy/ in the project's
    repository explains each file.
    """
    for path in write(folder, celery=celery):
        out.print(str(path))


def write(folder: Path, *, celery: bool) -> list[Path]:
    """Write the files for this installation to a folder that has none, and return their paths.

    Raises:
        NotEmpty: it has some.
    """
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise NotEmpty(f"{folder} is not empty: give a new folder, and nothing is overwritten")
    programs = str(Path(sys.executable).parent)
    written: list[Path] = []
    for name, text in sorted(_contents(celery=celery).items()):
        path = folder / name
        path.touch(0o600 if name == "environment" else 0o644)  # the one will have passwords
        path.write_text(text.replace(_PROGRAMS, programs).replace(_FOLDER, str(folder)), "utf-8")
        written.append(path)
    return written


def _contents(*, celery: bool) -> dict[str, str]:
    """Return the files by their names: of Celery its own in place of Dagster's, or after them."""
    contents = _texts("dagster")
    if celery:
        ours = _texts("celery")
        contents |= ours | {"environment": contents["environment"] + ours["environment"]}
    return contents


def _texts(kind: str) -> dict[str, str]:
    return {
        file.name: file.read_text("utf-8")
        for file in (_shipped() / kind).iterdir()
        if file.name in _SHIPPED or file.name.endswith(_SERVICE)
    }


def _shipped() -> Traversable:
    """Return the folder `deploy`: in the wheel, else in the clone that this runs from."""
    packed = files("musehub_pipeline") / "deploy"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "deploy"
