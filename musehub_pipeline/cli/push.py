"""`push`: an mpack → storage and queue, as a client and the hub do it."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import out, print_json
from musehub_pipeline.cli.options import JsonFlag, repo_option
from musehub_pipeline.client import push as pushing
from musehub_pipeline.domain.ids import is_id
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.queue.enqueue import Pushes
from musehub_pipeline.settings import Settings

RepoOption = Annotated[str, repo_option("The repository to push to.")]


def push(
    mpack: Annotated[Path, typer.Argument(help="The mpack to push.")],
    repo: RepoOption,
    branch: Annotated[
        str | None,
        typer.Option("--branch", "-b", help="The branch to move.", show_default="all in the mpack"),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="The commit to move it to.", show_default="what the mpack proposes"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move it even if that loses commits.")
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Create the repository if there is none.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Upload an mpack and enqueue its indexing: one job for each branch that it moves.

    The heads are those that the mpack lists, or --branch and --head. An mpack without heads is
    indexed and moves no branch.
    """
    if head is not None and branch is None:
        raise typer.BadParameter(f"--head {head} needs --branch")
    if head is not None and not is_id(head):
        raise typer.BadParameter(f"--head {head!r} is not a commit id")
    contents = pushing.outline(mpack)
    heads = {branch: head} if branch and head else contents.branch_heads
    if branch is not None:
        if branch not in heads:
            raise typer.BadParameter(f"the mpack proposes no head for branch {branch!r}")
        heads = {branch: heads[branch]}
    settings = local.resolve(Settings.load())
    with open_database(settings) as database, open_objects(settings) as objects:
        repos = Repos(database)
        report = pushing.push(
            mpack,
            contents,
            repos.ensure(repo) if create else repos.find(repo),
            heads=heads,
            force=force,
            pusher_id=_user(),
            objects=objects,
            pushes=Pushes(database),
        )
    if as_json:
        print_json(report.as_dict())
        return
    for job_id in report.job_ids:
        out.print(job_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return str(os.getuid())
