"""`fsck`: is the index what it should be?"""

from datetime import timedelta
from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.audit.fsck import Breach, Check, Fsck
from musehub_pipeline.audit.names import BadName, NameCheck
from musehub_pipeline.cli.console import EXIT_NOT_OK, out, print_json, print_json_line, print_rows
from musehub_pipeline.cli.deep import check_bytes
from musehub_pipeline.cli.options import JsonFlag, age_option, repo_option
from musehub_pipeline.cli.orphans import list_orphans, prune_orphans
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.cli.repair import repair
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.objects.scratch import scratch_folder
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.settings import Settings

_NAME_SHOWN = 160  # characters
_LISTED = 10_000  # breaches of one check: an index that is lost must not fill the memory


def fsck(
    repo: Annotated[str | None, repo_option("Check only this repository.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read and hash all stored bytes that object rows name.")
    ] = False,
    since: Annotated[
        timedelta | None,
        age_option("--since", "With --deep: only objects whose rows were made within this age"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --deep: go on where the last check stopped.")
    ] = False,
    healing: Annotated[
        bool, typer.Option("--repair", help="Heal what mpacks in storage can prove.")
    ] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="List stored objects that no row names.")
    ] = False,
    pruning: Annotated[
        bool, typer.Option("--prune-orphans", help="Remove these; needs --older-than.")
    ] = False,
    older_than: Annotated[
        timedelta | None,
        age_option("--older-than", "Only orphans that were stored longer ago than this"),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Check names instead: paths and branches.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check that queue, index and storage agree; exit with 3 on any breach.

    job_ends: a job is done with a result, has failed with a reason, waits, or is under way.

    mpack_indexed: everything in a done job's mpack is in the index, exactly once.

    commit_complete: the repository holds each commit's snapshot and parents.

    manifest_complete: each object that a manifest names has a row, and a ref in that repository.

    object_stored: an object row has bytes of its size in storage.

    head_exists: the head of a branch is a commit of its repository.

    ref_supplied: a repository holds only what some push supplied to it.

    Nothing is changed. Rows and storage are seen as they are at one moment, whatever else is
    running. Mpacks are compared later, in a separate transaction for each group of repositories, so
    that no transaction stays open long. Deleted repositories are skipped. A ref (the row saying
    that a repository holds an object) is counted but not checked if an mpack of its repository
    cannot be read, or if the ref is older than the oldest done job still in the table.

    With --deep, read and hash all stored bytes that object rows name. A finding is an object whose
    bytes are missing, have another size than its row says (size), or hash to another id (hash). It
    names the repositories that hold the object, and the done jobs whose mpacks in storage have it.
    As JSON, each finding is a line. The last line, with --json on stderr, counts objects, bytes,
    findings and seconds.

    You may kill it at any time. --resume goes on where it stopped, and also prints what was found
    before. A file in the folder fsck of MUSEHUB_HOME keeps the progress, one for each --repo and
    --since. It is removed in the end.

    With --repair, heal what mpacks of done jobs that are still in storage can prove: objects whose
    bytes are missing or have another size than their rows say, and missing rows of objects, refs,
    snapshots and commits. With --deep as well, all bytes are read, and bytes that hash wrong are
    healed too. Bytes that hash right are never touched, no branch moves, and runs may go on
    meanwhile. Each thing is printed as healed, or as left and why. Exit with 3 if anything is left.

    With --orphans, list stored objects that no row names, the oldest first. They come from runs
    that were killed, or that broke off after storing bytes. A push under way also stores bytes
    before a row names them.

    With --prune-orphans, remove orphans that are older than --older-than, an hour at the least.
    They are removed only while no run has a job: no run can begin for a second or so at a time, and
    an object that got a row meanwhile stays. If runs have jobs for a whole minute, it gives up and
    says so.

    With --names, list the paths of stored manifests that no checkout may hold, and the branches
    that a push may no longer have. They are older than the rules of docs/mpack.md. As JSON, each
    finding is a line.
    """
    _check_options(
        {"--deep or --repair": deep or healing, "--orphans": orphans}
        | {"--prune-orphans": pruning, "--names": names},
        {
            "--since": (since is None or deep, "--deep"),
            "--resume": (deep or not resume, "--deep"),
            "--older-than": (older_than is None or orphans or pruning, "--orphans"),
            "--repo": (repo is None or not (orphans or pruning), "what has a row: no orphan does"),
        },
    )
    settings = local.resolve(Settings.load())
    if names:
        _check_names(settings, repo, as_json=as_json)
    elif pruning:
        prune_orphans(settings, older_than=older_than, as_json=as_json)
    elif orphans:
        list_orphans(settings, older_than=older_than, as_json=as_json)
    elif healing:
        repair(settings, repo, deep=deep, since=since, resume=resume, as_json=as_json)
    elif deep:
        check_bytes(settings, repo, since=since, resume=resume, as_json=as_json)
    else:
        _check(settings, repo, as_json=as_json)


def _check_options(ways: dict[str, bool], options: dict[str, tuple[bool, str]]) -> None:
    """Check that one way to go is chosen at the most, and that each option goes with it."""
    if sum(ways.values()) > 1:
        raise typer.BadParameter(f"of {', '.join(ways)} only one is possible")
    for option, (goes, needed) in options.items():
        if not goes:
            raise typer.BadParameter(f"{option} goes with {needed}")


def _check(settings: Settings, repo: str | None, *, as_json: bool) -> None:
    breaches: list[Breach] = []
    found = 0
    with (
        open_database(settings) as database,
        open_objects(settings) as objects,
        scratch_folder(settings.scratch_root) as scratch,
    ):
        repo_id = Repos(database).id_of(repo)
        checking = Fsck(database, objects, repo_id=repo_id, scratch=scratch)
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
        raise typer.Exit(EXIT_NOT_OK)


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
        repo_id = Repos(database).id_of(repo)
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
        raise typer.Exit(EXIT_NOT_OK)


def _name_row(bad: BadName) -> tuple[str, ...]:
    repo_id, about = bad.key.values()
    shown = one_line(bad.name, longest=_NAME_SHOWN)
    return bad.rule, repo_id, one_line(about, longest=_NAME_SHOWN), shown, bad.message
