"""`backfill discover`: mpacks that lie in storage and that no job names."""

from datetime import timedelta
from itertools import islice
from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.audit.uploads import (
    EnqueueReport,
    Uploads,
    enqueue,
    find_uploads,
    open_uploads,
)
from musehub_pipeline.cli.console import (
    duration,
    err,
    out,
    print_json,
    print_json_list,
    print_rows,
)
from musehub_pipeline.cli.options import JsonFlag, Limit, age_option, repo_option
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.domain.ids import hex_of, is_id
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.settings import Settings

_ROW_IS_THERE = timedelta(hours=1)  # the hub inserts it moments after the upload
_KEY_SHOWN = 100  # characters of a key that is no mpack's


def parse_mpack(text: str) -> str:
    """Return the 64 hex digits of an mpack's id."""
    if not is_id(text):
        raise typer.BadParameter(
            f"{text!r:.120} is not an mpack: 64 lowercase hex digits, bare or after sha256:"
        )
    return hex_of(text)


def discover(
    mpacks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these mpacks.", metavar="MPACK", parser=parse_mpack, show_default="all"
        ),
    ] = None,
    older_than: Annotated[
        timedelta | None,
        age_option(
            "--older-than",
            "Only mpacks uploaded longer ago than this",
            default="1h with --enqueue",
        ),
    ] = None,
    enqueuing: Annotated[
        bool, typer.Option("--enqueue", help="Enqueue the named mpacks; needs --repo.")
    ] = False,
    repo: Annotated[str | None, repo_option("The repository to enqueue them in.")] = None,
    limit: Limit = 20,
    as_json: JsonFlag = False,
) -> None:
    """List mpacks in storage that no job names, the oldest first.

    An mpack that was uploaded moments ago may be about to get its row. Mpacks whose rows were
    pruned by MUSEHUB_KEEP_DONE_DAYS are listed too. With --json all are printed, whatever --limit
    says.

    With --enqueue, the named mpacks get jobs in the repository, the oldest upload first. If one is
    missing or too young, none gets a job. Such a job indexes what is in the mpack and moves no
    branch. If the repository already has a job for an mpack, no second job is made.
    """
    hex_digests = list(dict.fromkeys(mpacks or ()))
    if enqueuing and not (hex_digests and repo):
        raise typer.BadParameter("--enqueue needs mpacks, by name, and --repo")
    if repo and not enqueuing:
        raise typer.BadParameter("--repo goes with --enqueue: what no job names has no repository")
    settings = local.resolve(Settings.load())
    with (
        open_database(settings, idle=settings.lease) as database,
        open_objects(settings) as objects,
    ):
        if repo:
            report = enqueue(
                hex_digests,
                Repos(database).find(repo),
                older_than=_ROW_IS_THERE if older_than is None else older_than,
                database=database,
                objects=objects,
            )
            _report(report, as_json=as_json)
            return
        with open_uploads(database) as uploads:
            _note(uploads, objects, hex_digests)
            uploads.forget_named()
            if as_json:
                print_json_list(mpack._asdict() for mpack in uploads.mpacks(older_than=older_than))
            else:
                _show(uploads, older_than, limit)


def _note(uploads: Uploads, objects: ObjectStorage, hex_digests: list[str]) -> None:
    """Note the named mpacks, or all that storage has; say what is none."""
    with progress_bar("listing", "mpacks") as report:
        found = (
            find_uploads(hex_digests, objects).values() if hex_digests else objects.stored_mpacks()
        )
        for noted in uploads.note(found):
            report(noted, None)
    if uploads.strangers:
        some = ", ".join(one_line(key, longest=_KEY_SHOWN) for key in uploads.some_strangers)
        more = ", …" if uploads.strangers > len(uploads.some_strangers) else ""
        err.print(f"{uploads.strangers:,} under mpacks/ are not mpacks: {some}{more}")


def _show(uploads: Uploads, older_than: timedelta | None, limit: int) -> None:
    total = uploads.total(older_than=older_than)
    print_rows(
        ("mpack", "bytes", "age", "uploaded"),
        (
            (key, f"{size:,}", duration(age), uploaded_at)
            for key, size, uploaded_at, age in islice(uploads.mpacks(older_than=older_than), limit)
        ),
    )
    if total.mpacks > limit:
        err.print(f"… and {total.mpacks - limit:,} more")
    are = "is" if total.mpacks == 1 else "are"
    aged = f" and older than {older_than}" if older_than else ""
    err.print(
        f"{total.mpacks:,} of {uploads.noted:,} mpacks {are} named by no job{aged}:"
        f" {total.size_bytes:,} bytes"
    )


def _report(report: EnqueueReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report._asdict())
        return
    for job_id in report.enqueued.values():
        out.print(job_id)
    for mpack_key, job_id in report.present.items():
        err.print(f"{mpack_key} already has a job: {job_id}")
