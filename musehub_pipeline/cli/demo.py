"""`demo`: the whole journey of the data on one screen."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import EXIT_NOT_OK, err, out, print_pairs, print_rows
from musehub_pipeline.cli.index import drain
from musehub_pipeline.cli.pack import warn_of_skipped
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.client.git import GitRepository
from musehub_pipeline.client.git_objects import GitError
from musehub_pipeline.client.pack import PackReport, pack
from musehub_pipeline.client.push import outline, push
from musehub_pipeline.client.refused import RefusedPush, push_refused
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import in_order
from musehub_pipeline.index.repos import Repo, Repos
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.enqueue import Pushes
from musehub_pipeline.queue.jobs import JobOutcome
from musehub_pipeline.settings import Settings

_OWNER = "demo"
_REFUSED = "refused"
_EXAMPLE = "SELECT message, author FROM musehub_commits ORDER BY timestamp DESC LIMIT 5"


def demo(
    git: Annotated[Path, typer.Option("--git", help="The git repository to push.")] = Path(),
    with_failures: Annotated[
        bool, typer.Option("--with-failures", help="Also push what is refused, to demo/refused.")
    ] = False,
) -> None:
    """Pack a git repository's history, push it, index it, and show the result.

    Nothing has to be set up: an embedded PostgreSQL and a directory are used if no others are
    configured. Run it again after a commit, and only what is new is packed and pushed.

    With --with-failures, further pushes follow, to a repository of their own. All but the first are
    refused, each for another reason: to see what refused pushes look like in tables and in the UI.
    """
    with GitRepository(git):
        pass  # before anything is made for it
    with err.status("starting the services"):
        settings = local.resolve(Settings.load())
    with (
        open_database(settings) as database,
        open_objects(settings) as objects,
        tempfile.TemporaryDirectory(prefix="musehub-demo-") as folder,
    ):
        demonstration = _Demo(settings, database, objects, Path(folder))
        pushed = demonstration.push_news(git)
        refused = demonstration.push_refused() if with_failures else {}
    # What an earlier demo left in the queue comes first.
    outcomes = drain(settings, [*pushed, *refused], everything=True) if pushed or refused else []
    _show(outcomes, refused)
    if any(_is_unexpected(outcome, refused) for outcome in outcomes):
        raise typer.Exit(EXIT_NOT_OK)
    _say_how_to_look_further(settings)


class _Demo:
    """Pushes to a hub, for a demo."""

    def __init__(
        self, settings: Settings, database: Database, objects: ObjectStorage, folder: Path
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._pushes = Pushes(database)
        self._repos = Repos(database)
        self._folder = folder

    def push_news(self, git: Path) -> Sequence[str]:
        """Push what of a git repository the index lacks; return the jobs."""
        repo = self._repos.ensure(f"{_OWNER}/{_slug(git)}")
        mpack = self._folder / "history.mpack"
        report = _pack_news(git, mpack, self._repos, repo)
        stale = _moved(report, self._repos, repo)
        if not stale:
            out.print(f"nothing is new in {git.resolve()}: the index has all of it already")
            return ()
        out.print(
            f"packed {report.commits} commits, {report.snapshots} snapshots and {report.objects}"
            f" objects into {report.size_bytes:,} bytes"
        )
        warn_of_skipped(report)
        pushed = push(
            mpack,
            outline(mpack),
            repo,
            heads=stale,
            force=True,  # a demo follows the repository, also where its history was rewritten
            pusher_id=_OWNER,
            objects=self._objects,
            pushes=self._pushes,
        )
        return pushed.job_ids

    def push_refused(self) -> dict[str, RefusedPush]:
        """Push what is refused; return it by job."""
        return push_refused(
            self._folder,
            self._repos.ensure(f"{_OWNER}/{_REFUSED}"),
            pusher_id=_OWNER,
            objects=self._objects,
            pushes=self._pushes,
        )


def _show(outcomes: Sequence[JobOutcome], refused: Mapping[str, RefusedPush]) -> None:
    for outcome in outcomes:
        if outcome["result"] and outcome["job_id"] not in refused:
            print_pairs(in_order(outcome["result"]), title=f"result of {outcome['job_id']}")
    if refused:
        print_rows(
            ("push", "status", "reason", "job"),
            (
                (refused[job_id].about, outcome["status"], outcome["error_code"], job_id)
                for outcome in outcomes
                if (job_id := outcome["job_id"]) in refused
            ),
            title="pushes that are refused",
        )


def _is_unexpected(outcome: JobOutcome, refused: Mapping[str, RefusedPush]) -> bool:
    expected = refused.get(outcome["job_id"])
    if expected is None or expected.code is None:
        return outcome["status"] != Status.DONE
    return outcome["error_code"] != expected.code


def _slug(git: Path) -> str:
    """Return a name that says which repository it is, and that no other folder has."""
    path = git.resolve()
    name = re.sub(r"[^a-z0-9._-]+", "-", path.name.lower()).strip("-") or "repository"
    return f"{name}-{sha256(os.fsencode(path)).hexdigest()[:6]}"


def _pack_news(git: Path, mpack: Path, repos: Repos, repo: Repo) -> PackReport:
    """Pack what the repo does not have: its heads remember the git commits that they came from."""
    known = [
        head["commit_meta"].get("metadata", {}).get("git_commit")
        for head in repos.heads(repo).values()
    ]
    with GitRepository(git) as repository:
        have = [commit for commit in known if commit and _has(repository, commit)]
        branches = None if repository.branches() else ["HEAD"]
    with progress_bar("packing", "commits") as show:
        return pack(git, mpack, branches=branches, have=have, on_progress=show)


def _has(repository: GitRepository, commit: str) -> bool:
    try:
        repository.find_commit(commit)
    except GitError:
        return False
    return True


def _moved(report: PackReport, repos: Repos, repo: Repo) -> dict[str, str]:
    heads = {branch: head["commit_id"] for branch, head in repos.heads(repo).items()}
    return {
        branch: head for branch, head in report.branch_heads.items() if heads.get(branch) != head
    }


def _say_how_to_look_further(settings: Settings) -> None:
    out.print(
        "\nLook further:\n"
        "  make dev                                 the Dagster UI, with this run's timeline\n"
        "  .venv/bin/musehub-pipeline jobs list     the queue\n"
        f"  .venv/bin/musehub-pipeline db query '{_EXAMPLE}'\n"
        f"Everything lies in {settings.home}."
    )
