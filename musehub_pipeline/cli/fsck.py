"""`fsck`: is the index what it should be?"""

from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.audit.fsck import Breach, Check, Fsck
from musehub_pipeline.audit.fsck_tables import open_tables
from musehub_pipeline.audit.names import BadName, NameCheck
from musehub_pipeline.cli.console import out, print_json, print_json_line, print_rows
from musehub_pipeline.cli.options import JsonFlag, repo_option
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.objects.scratch import scratch_folder
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.settings import Settings

EXIT_BREACH = 1

_NAME_SHOWN = 160  # characters
_LISTED = 10_000  # breaches of one check: an index that is lost must not fill the memory


def fsck(
    repo: Annotated[str | None, repo_option("Check only this repository.")] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Check names instead: paths and branches.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check that queue, index and storage agree; exit with 1 on any breach.

    job_ends: a job is done with a result, has failed with a reason, waits, or is under way.

    mpack_indexed: everything in a done job's mpack is in the index, exactly once.

    commit_complete: the repository holds each commit's snapshot and parents.

    manifest_complete: what a manifest names has a row, and a ref in that repository.

    object_stored: an object row has bytes of its size in storage.

    head_exists: the head of a branch is a commit of its repository.

    ref_supplied: a repository holds only what some push supplied to it.

    Nothing is changed, and everything is seen as it is at one moment, whatever else is running.
    Deleted repositories are skipped. A ref cannot be judged, and is only counted, where an mpack of
    its repository cannot be read, or where it is older than the first done job that is left.

    With --names, list the paths of stored manifests that no checkout may hold, and the branches
    that a push may no longer have: what was taken in before the rules of docs/mpack.md. As JSON,
    each finding is a line.
    """
    settings = local.resolve(Settings.load())
    if names:
        _check_names(settings, repo, as_json=as_json)
        return
    breaches: list[Breach] = []
    found = 0
    with (
        open_database(settings) as database,
        open_objects(settings) as objects,
        scratch_folder(settings.scratch_root) as scratch,
    ):
        repo_id = Repos(database).find(repo).repo_id if repo else None
        with open_tables(database, repo_id=repo_id) as tables:
            checking = Fsck(tables, objects, scratch=scratch)
            for check in checking.checks():
                listed, number = _find(check)
                breaches += listed
                found += number
    checked = checking.checked | {"breaches": found}
    if as_json:
        print_json({"breaches": [breach.as_dict() for breach in breaches], "checked": checked})
    else:
        for breach in breaches:
            out.print(str(breach))
        out.print(" ".join(f"{name}={number}" for name, number in checked.items()))
    if found:
        raise typer.Exit(EXIT_BREACH)


def _find(check: Check) -> tuple[list[Breach], int]:
    """Return the first breaches of a check, and how many there are."""
    listed: list[Breach] = []
    found = 0
    with progress_bar(check.name, check.unit) as report:
        for breach in check.find(report):
            found += 1
            if found <= _LISTED:
                listed.append(breach)
    return listed, found


def _check_names(settings: Settings, repo: str | None, *, as_json: bool) -> None:
    listed: list[BadName] = []
    found = 0
    with open_database(settings) as database:
        repo_id = Repos(database).find(repo).repo_id if repo else None
        checking = NameCheck(database, repo_id=repo_id)
        with progress_bar("names", "rows") as report:
            for found, bad in enumerate(checking.find(report), start=1):
                if as_json:
                    print_json_line(bad.as_dict())
                elif found <= _LISTED:
                    listed.append(bad)
    if not as_json:
        if listed:
            print_rows(
                ("rule", "repository", "snapshot or branch", "name", "message"),
                (_name_row(bad) for bad in listed),
            )
        checked = checking.checked | {"findings": found}
        out.print(" ".join(f"{name}={number}" for name, number in checked.items()))
    if found:
        raise typer.Exit(EXIT_BREACH)


def _name_row(bad: BadName) -> tuple[str, ...]:
    repo_id, about = bad.key.values()
    shown = one_line(bad.name, longest=_NAME_SHOWN)
    return bad.rule, repo_id, one_line(about, longest=_NAME_SHOWN), shown, bad.message
