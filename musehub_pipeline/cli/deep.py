"""`fsck --deep`: do the stored bytes hash to what names them?"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic

import typer

from musehub_pipeline.audit.deep import Damage, DeepCheck, Named
from musehub_pipeline.audit.findings import Finding, open_findings
from musehub_pipeline.audit.journal import Checked, Journal
from musehub_pipeline.cli.console import EXIT_NOT_OK, err, out, print_json_line
from musehub_pipeline.cli.progress import progress_bar
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.scratch import scratch_folder
from musehub_pipeline.phases.services import open_database, open_objects
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings

_MEGABYTE = 1e6
_NAME_CHARACTERS = 16


def check_bytes(
    settings: Settings, repo: str | None, *, since: timedelta | None, resume: bool, as_json: bool
) -> None:
    """Report stored bytes that are wrong; exit with 3 where there are any."""
    with (
        open_database(settings) as database,
        open_objects(settings) as objects,
        scratch_folder(settings.scratch_root) as scratch,
    ):
        repo_id = Repos(database).id_of(repo)
        path = journal_path(settings, repo_id, since)
        with (
            all_read(
                database, objects, path, repo_id=repo_id, since=since, resume=resume
            ) as journal,
            open_findings(database, objects, scratch=scratch) as findings,
        ):
            findings.note(journal.damages())
            with progress_bar("looking for mpacks", "mpacks") as report:
                for _ in findings.supplies(report):
                    pass
            for finding in findings.all():
                _tell(finding, as_json=as_json)
            journal.remove()
    (err if as_json else out).print(summary(journal.checked))
    if journal.checked.findings:
        raise typer.Exit(EXIT_NOT_OK)


@contextmanager
def all_read(
    database: Database,
    objects: ObjectStorage,
    path: Path,
    *,
    repo_id: str | None,
    since: timedelta | None,
    resume: bool,
) -> Generator[Journal]:
    """Read all bytes of a scope, or what is left of it; give the journal, for whoever removes it.

    Raises:
        JournalInUse: the same is under way.
        NotAJournal: the file at `path` is something else.
        Transient: storage or database could not be reached; `resume` goes on from there.
    """
    with Journal(path) as journal:
        if resume and journal.resume():
            err.print(f"{journal.checked.objects:,} objects were read before")
        else:
            if resume:
                err.print("there is nothing to resume: all is read")
            journal.begin(since=None if since is None else database.now() - since)
        checking = DeepCheck(database, objects, repo_id=repo_id, since=journal.since)
        with progress_bar("reading bytes", "objects") as report:
            total = checking.count()
            report(journal.checked.objects, total)
            begun = monotonic()
            for window, damages in checking.windows(after=journal.checked.after):
                ended = monotonic()
                journal.note(damages, _further(journal.checked, window, damages, ended - begun))
                begun = ended
                report(journal.checked.objects, total)
        yield journal


def journal_path(settings: Settings, repo_id: str | None, since: timedelta | None) -> Path:
    """Return where a check of some scope notes how far it is: a place of its own for each scope."""
    scope = (settings.database_url, settings.storage_url, repo_id, since)
    name = sha256(repr(scope).encode()).hexdigest()[:_NAME_CHARACTERS]
    return settings.home / "fsck" / f"deep-{name}.jsonl"


def summary(checked: Checked) -> str:
    """Return the line that counts what was read, over all processes that took part."""
    rate = checked.size_bytes / _MEGABYTE / checked.seconds if checked.seconds else 0.0
    return (
        f"objects={checked.objects} bytes={checked.size_bytes} findings={checked.findings}"
        f" seconds={checked.seconds:.3f} MB/s={rate:.1f}"
    )


def _further(
    before: Checked, window: Sequence[Named], damages: Sequence[Damage], seconds: float
) -> Checked:
    # Bytes read: for a wrong object as many as lie there, for the others what the rows say.
    wrong = {damage.object_id: damage.actual_bytes or 0 for damage in damages}
    read = sum(wrong.get(named.object_id, named.size_bytes or 0) for named in window)
    return Checked(
        after=window[-1].object_id,
        objects=before.objects + len(window),
        size_bytes=before.size_bytes + read,
        findings=before.findings + len(damages),
        seconds=before.seconds + seconds,
    )


def _tell(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json_line(finding.as_dict())
    else:
        out.print(str(finding))
