"""`fsck --repair`: what mpacks that are still in storage can prove is put back in its place.

Damage is found, healed, and looked for again: what is said to be healed was seen to be so.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import typer

from musehub_pipeline.audit.deep import Damage, look_at
from musehub_pipeline.audit.findings import Finding, Findings, open_findings
from musehub_pipeline.audit.fsck import Breach, Fsck, Invariant
from musehub_pipeline.audit.journal import Journal
from musehub_pipeline.cli.console import EXIT_NOT_OK, err, out, print_json_line
from musehub_pipeline.cli.deep import all_read, journal_path
from musehub_pipeline.cli.progress import jobs_bar, progress_bar, shown_log
from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.scratch import scratch_folder
from musehub_pipeline.phases.index_again import index_again
from musehub_pipeline.phases.services import open_database, open_objects, open_services
from musehub_pipeline.postgres.arrays import chunked
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings

_LISTED = 10_000  # breaches: an index that is lost must not fill the memory
_LOOKED_AT = 1_000

_WHY_LEFT = {
    Invariant.JOB_ENDS: "repair changes no job but by indexing it again",
    Invariant.HEAD_EXISTS: "no done job's mpack in storage has it, and repair moves no branch",
    Invariant.COMMIT_COMPLETE: "no done job's mpack in storage has what is missing",
    Invariant.MANIFEST_COMPLETE: "no done job's mpack in storage has what is missing",
    Invariant.REF_SUPPLIED: "repair takes nothing away",
    Invariant.OBJECT_STORED: "it was not so when repair began",
    Invariant.MPACK_INDEXED: "the mpack itself is what is missing",
}
_NOT_HAD = "another run has it, or MUSEHUB_MAX_KILLS runs have died over it"


def repair(
    settings: Settings,
    repo: str | None,
    *,
    deep: bool,
    since: timedelta | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Heal what can be, and say of each thing whether it is; exit with 3 where one is not."""
    with (
        open_database(settings) as database,
        open_objects(settings) as objects,
        scratch_folder(settings.scratch_root) as scratch,
    ):
        repo_id = Repos(database).id_of(repo)
        repairing = Repair(database, objects, scratch, settings, repo_id, as_json=as_json)
        repairing.look()
        with ExitStack() as stack:
            journal: Journal | None = None
            if deep:
                path = journal_path(settings, repo_id, since)
                journal = stack.enter_context(
                    all_read(database, objects, path, repo_id=repo_id, since=since, resume=resume)
                )
            findings = stack.enter_context(open_findings(database, objects, scratch=scratch))
            findings.note(chain(journal.damages() if journal else (), repairing.damages()))
            repairing.heal_bytes(findings)
            repairing.index_again()
            repairing.tell_bytes(findings)
            repairing.look_again(findings)
            if journal is not None:
                journal.remove()
    (err if as_json else out).print(f"healed={repairing.healed} left={repairing.left}")
    if repairing.left:
        raise typer.Exit(EXIT_NOT_OK)


class Repair:
    """One repair, step by step; counts what is `healed`, and what is `left`."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStorage,
        scratch: Path,
        settings: Settings,
        repo_id: str | None,
        *,
        as_json: bool,
    ) -> None:
        self._database = database
        self._objects = objects
        self._scratch = scratch
        self._settings = settings
        self._repo_id = repo_id
        self._as_json = as_json
        self._before: dict[Breach, bool] = {}  # whether it is still so
        self._breaches = 0  # also of those that are not listed
        self._suspects: list[str] = []  # objects whose bytes may be wrong
        self._job_ids: set[str] = set()  # to index again
        self._kept: dict[str, str] = {}  # of these, why they could not be
        self.healed = 0
        self.left = 0

    def look(self) -> None:
        """Find what is wrong with the rows, and which objects may have wrong bytes."""
        listed: Counter[Invariant] = Counter()
        for breach in self._check():
            if breach.invariant is Invariant.OBJECT_STORED:
                self._suspects.append(breach.key["object_id"])
                continue
            if breach.table == "musehub_objects":  # its bytes may still lie there, without a row
                self._suspects.append(breach.key["object_id"])
            if breach.job_id is not None:
                self._job_ids.add(breach.job_id)
            self._breaches += 1
            listed[breach.invariant] += 1
            if listed[breach.invariant] <= _LISTED:
                self._before[breach] = False

    def damages(self) -> Iterator[Damage]:
        """Yield what is wrong with the bytes of suspects."""
        for some in chunked(self._suspects, _LOOKED_AT):
            yield from look_at(some, self._database, self._objects)

    def heal_bytes(self, findings: Findings) -> None:
        """Put back missing and wrong bytes, before any row names them."""
        with progress_bar("healing bytes", "mpacks") as report:
            for file, places in findings.supplies(report, job_ids=sorted(self._job_ids)):
                self._objects.heal_objects(file, places)
        self._objects.sync()
        for finding in findings.all():
            if finding.damage.hashes_right:  # it is the row that says otherwise
                self._job_ids.update(supplier.job_id for supplier in finding.suppliers)

    def index_again(self) -> None:
        """Index the jobs again that supplied what is missing, until a round completes none.

        A thin mpack may need what another job has to bring first.
        """
        remaining = self._job_ids
        if not remaining:
            return
        run_id = str(uuid4())
        with (
            open_services(self._settings) as services,
            jobs_bar(len(remaining)) as (show_phase, advance),
            shown_log(on_phase=show_phase, on_job=advance),
        ):
            while remaining:
                self._kept = dict.fromkeys(remaining, _NOT_HAD)
                for batch in index_again(services, remaining, run_id=run_id):
                    for item in batch.items:
                        self._kept[item.claim.job_id] = str(item.error)
                        if item.outcome is Outcome.DONE:
                            del self._kept[item.claim.job_id]
                if len(self._kept) == len(remaining):
                    return
                remaining = set(self._kept)

    def tell_bytes(self, findings: Findings) -> None:
        """Read again what was found, and tell what became of each."""
        for some in chunked(findings.all(), _LOOKED_AT):
            ids = [finding.damage.object_id for finding in some]
            wrong = {damage.object_id for damage in look_at(ids, self._database, self._objects)}
            for finding in some:
                is_wrong = finding.damage.object_id in wrong
                self._count(left=is_wrong)
                why = self._why_bytes(finding) if is_wrong else None
                self._tell(finding.as_dict(), str(finding), why)

    def look_again(self, findings: Findings) -> None:
        """Look at the rows once more, and tell what became of each breach."""
        listed: Counter[Invariant] = Counter()
        still = 0
        for breach in self._check():
            if breach.invariant is Invariant.OBJECT_STORED and findings.has(
                breach.key["object_id"]
            ):
                continue  # it has been told
            still += 1
            listed[breach.invariant] += 1
            if listed[breach.invariant] <= _LISTED:
                self._before[breach] = True
        for breach, is_left in self._before.items():
            self._tell(breach.as_dict(), str(breach), self._why(breach) if is_left else None)
        self.left += still
        self.healed += max(0, self._breaches - still)

    def _check(self) -> Iterator[Breach]:
        checking = Fsck(self._database, self._objects, repo_id=self._repo_id, scratch=self._scratch)
        for check in checking.checks():
            with progress_bar(check.name, check.unit) as report:
                yield from check.find(report)

    def _count(self, *, left: bool) -> None:
        self.left += left
        self.healed += not left

    def _why_bytes(self, finding: Finding) -> str:
        if not finding.suppliers:
            return "no done job's mpack in storage has the object"
        for job_id, _ in finding.suppliers:
            if job_id in self._kept:
                return f"job {job_id} could not be indexed again: {self._kept[job_id]}"
        return "it was put back, and is wrong again"

    def _why(self, breach: Breach) -> str:
        if breach.job_id in self._kept:
            return f"job {breach.job_id} could not be indexed again: {self._kept[breach.job_id]}"
        if breach.job_id is not None:
            return "it was not so when repair began"
        return _WHY_LEFT[breach.invariant]

    def _tell(self, thing: Mapping[str, Any], text: str, why: str | None) -> None:
        if self._as_json:
            print_json_line({**thing, "healed": why is None, "why": why})
        else:
            out.print(f"healed: {text}" if why is None else f"left: {text}: {why}")
