"""`fsck --orphans` and `--prune-orphans`: stored objects that no row names."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice

import typer

from musehub_pipeline.audit.orphans import LEAST_AGE, Orphans, Pruning, open_orphans
from musehub_pipeline.cli.console import duration, err, print_json, print_json_line, print_rows
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings

_LISTED = 10_000
_PATIENCE = timedelta(minutes=1)


def list_orphans(settings: Settings, *, older_than: timedelta | None, as_json: bool) -> None:
    """Print orphans, the oldest first; nothing is changed."""
    with _noted(settings) as (_, _, orphans):
        total = orphans.total(older_than=older_than)
        found = orphans.all(older_than=older_than)
        if as_json:
            for orphan in found:
                print_json_line(orphan._asdict())
            return
        print_rows(
            ("object", "bytes", "age", "stored"),
            (
                (object_id, f"{size:,}", duration(age), stored_at)
                for object_id, size, stored_at, age in islice(found, _LISTED)
            ),
        )
        if total.objects > _LISTED:
            err.print(f"… and {total.objects - _LISTED:,} more")
        err.print(
            f"{total.objects:,} of {orphans.noted:,} stored objects are named by no row:"
            f" {total.size_bytes:,} bytes"
        )


def prune_orphans(settings: Settings, *, older_than: timedelta | None, as_json: bool) -> None:
    """Remove orphans that are older than an age, while no run has a job."""
    if older_than is None:
        raise typer.BadParameter("--prune-orphans needs --older-than, an age such as 3d")
    if older_than < LEAST_AGE:
        raise typer.BadParameter(
            f"--older-than {older_than}: what is younger than {LEAST_AGE} may be part of a push"
        )
    with _noted(settings) as (database, objects, orphans):
        total = orphans.total(older_than=older_than)
        pruning = Pruning(database, objects, patience=_PATIENCE)
        try:
            with progress_bar("removing", "orphans") as report:
                for removed in pruning.remove(orphans.all(older_than=older_than)):
                    report(removed, total.objects)
        finally:  # also where the hub was never idle
            if as_json:
                print_json({"removed": pruning.removed, "bytes": pruning.size_bytes})
            else:
                err.print(f"{pruning.removed:,} orphans removed: {pruning.size_bytes:,} bytes")


@contextmanager
def _noted(settings: Settings) -> Generator[tuple[Database, ObjectStorage, Orphans]]:
    with (
        open_database(settings) as database,
        open_objects(settings) as objects,
        open_orphans(database) as orphans,
    ):
        with progress_bar("listing", "objects") as report:
            for noted in orphans.note(objects.stored_objects()):
                report(noted, None)
        orphans.forget_named()
        yield database, objects, orphans
