"""The checks of the asset `musehub/mpack_index`.

Each run of `index_mpacks` that worked on a job says how it fared, whatever became of the run
itself: a push that is refused is no failure of a run. Executed by hand, a check judges the queue as
it stands, or the latest run.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from musehub_pipeline.audit.fsck import Fsck
from musehub_pipeline.domain.budgets import BudgetKey, Budgets
from musehub_pipeline.domain.errors import Fault, Rejection, Trouble
from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.domain.trouble import needs_operator
from musehub_pipeline.orchestration.assets import FIGURES, MPACK_INDEX
from musehub_pipeline.orchestration.metadata import table
from musehub_pipeline.orchestration.resources import MusehubServices
from musehub_pipeline.phases import report
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.services import Services, open_database
from musehub_pipeline.settings import Settings

_LOOKED_AT = 100  # materializations: those of runs that refused all their pushes have no times
_FAULTS = frozenset(map(str, Fault))
_WARN, _ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR

Judge = Callable[[dg.DagsterInstance, Services], dg.AssetCheckResult]


def _by_hand(description: str) -> Callable[[Judge], dg.AssetChecksDefinition]:
    """Make a check of what judges when it is executed by hand; it is called as that is."""

    def define(judge: Judge) -> dg.AssetChecksDefinition:
        @dg.asset_check(name=judge.__name__, asset=MPACK_INDEX.key, description=description)
        def check(
            context: dg.AssetCheckExecutionContext, musehub: MusehubServices
        ) -> dg.AssetCheckResult:
            musehub.heartbeat.begin(context.run.run_id)  # else the sensor would take it for dead
            return judge(context.instance, musehub)

        return check

    return define


@_by_hand(
    "Database, storage and scratch could be reached, no run died, and the pipeline itself did"
    " not fail. If this fails, look up the reason that is named in docs/operating.md. A job is"
    " tried until MUSEHUB_MAX_ATTEMPTS are spent; after that, retry it by hand. Executed by hand,"
    " the check judges the jobs that wait for another attempt, and those that failed for such a"
    " reason in the last 24 hours."
)
def trouble(_: dg.DagsterInstance, musehub: Services) -> dg.AssetCheckResult:
    """Judge the queue by what its jobs wait for."""
    status = musehub.jobs.status()
    codes = Counter(status["waiting_by_code"]) + Counter(status["failures_24h"])
    codes[Trouble.LEASE_EXPIRED] += status["expired_leases"]
    found = needs_operator(+codes)
    return dg.AssetCheckResult(
        passed=not found,
        severity=_ERROR,
        description=_line(found),
        metadata={"jobs_by_code": found},
    )


@_by_hand(
    "No push was refused. If this warns, the client that pushed has to look at the reason:"
    " `musehub-pipeline jobs list --status failed` names the jobs, docs/reasons.md explains the"
    " codes. A run that refuses a push succeeds all the same. Executed by hand, the check judges"
    " the last 24 hours, and also counts pushes that an operator cancelled."
)
def refused_pushes(_: dg.DagsterInstance, musehub: Services) -> dg.AssetCheckResult:
    """Judge the last day by what was refused."""
    failures = musehub.jobs.status()["failures_24h"]
    refused = {code: jobs for code, jobs in failures.items() if code in _FAULTS}
    return dg.AssetCheckResult(
        passed=not refused,
        severity=_WARN,
        description=_line(refused),
        metadata={"jobs_by_code": refused},
    )


@_by_hand(
    "No job waited for its first run longer than MUSEHUB_QUEUE_AGE_SECONDS. If this warns, there"
    " are too few runs for what is pushed (raise MUSEHUB_MAX_CONCURRENT_RUNS, or add machines), or"
    " none: `musehub-pipeline status` shows what waits. Executed by hand, the check judges what"
    " waits now."
)
def queue_age(_: dg.DagsterInstance, musehub: Services) -> dg.AssetCheckResult:
    """Judge the queue by its oldest job."""
    seconds = musehub.jobs.status()["oldest_unclaimed_seconds"] or 0.0
    passed, figures = _age(seconds, musehub.settings)
    return dg.AssetCheckResult(passed=passed, severity=_WARN, metadata=figures)


@_by_hand(
    "No job took longer than MUSEHUB_PHASE_BUDGETS_MS allows. Where budgets are set, each run"
    " of index_mpacks judges the jobs that it has done; executed by hand, the check judges the"
    " maxima of the latest run that has done any. It only warns: the jobs are done all the same."
)
def phase_budgets(instance: dg.DagsterInstance, musehub: Services) -> dg.AssetCheckResult:
    """Judge the latest run that has done a job by the budgets of now."""
    budgets = musehub.settings.phase_budgets
    maxima = _latest_maxima(instance, budgets)
    over = {key: taken for key, taken in maxima.items() if taken > budgets[key]}
    return dg.AssetCheckResult(
        passed=not over,
        severity=_WARN,
        description=None if maxima else "There is nothing to judge.",
        metadata={"budgets_ms": dict(budgets), "over_budget_ms": over},
    )


@_by_hand(
    "Queue, index and storage agree, as `musehub-pipeline fsck` checks it. No run does this by"
    " itself, for it reads all mpacks in storage: execute it by hand, or by a schedule of your own."
    " If it fails, `musehub-pipeline fsck` names each breach, and"
    " `musehub-pipeline fsck --repair` heals what mpacks can prove."
)
def fsck(_: dg.DagsterInstance, musehub: Services) -> dg.AssetCheckResult:
    """Judge all that is stored."""
    found: Counter[str] = Counter()
    # Not through the services' database: its sessions may not stand idle for as long as this takes.
    with open_database(musehub.settings) as database:
        checking = Fsck(database, musehub.objects, repo_id=None, scratch=musehub.scratch)
        for check in checking.checks():
            found.update(str(breach.invariant) for breach in check.find(lambda *_: None))
    return dg.AssetCheckResult(
        passed=not found,
        severity=_ERROR,
        description=_line(found),
        metadata={"breaches_by_invariant": dict(found), **checking.checked},
    )


CHECKS = (trouble, refused_pushes, queue_age, phase_budgets, fsck)


def _latest_maxima(instance: dg.DagsterInstance, budgets: Budgets) -> dict[BudgetKey, float]:
    """Return the maxima for which there is a budget, of the latest run that has done a job."""
    for record in instance.fetch_materializations(MPACK_INDEX.key, limit=_LOOKED_AT).records:
        made = record.asset_materialization
        figures = made.metadata.get(FIGURES) if made else None
        if isinstance(figures, dg.TableMetadataValue):
            maxima = {row.data["figure"]: row.data["max"] for row in figures.records}
            if maxima.keys() >= budgets.keys():
                return {key: float(maxima[key] or 0) for key in budgets}
    return {}


def judge(context: dg.OpExecutionContext, batch: Batch, settings: Settings) -> None:
    """Log what the checks say of a batch, and tag its run, so that lists of runs can be filtered.

    As many events whatever the batch, and none of a run that found no job.
    """
    if not batch.items:
        return
    for evaluation in _evaluations(batch, settings):
        # It takes evaluations too, its annotation has not heard of them.
        context.log_event(evaluation)  # pyright: ignore[reportArgumentType]
    if tags := _tags(batch):
        context.instance.add_run_tags(context.run_id, tags)


def _evaluations(batch: Batch, settings: Settings) -> Iterator[dg.AssetCheckEvaluation]:
    codes = Counter(str(item.error.code) for item in batch.items if item.error)
    codes[Trouble.LEASE_EXPIRED] += len(batch.rescued)
    found = needs_operator(+codes)
    yield _evaluation(
        trouble,
        passed=not found,
        severity=_ERROR,
        description=_line(found),
        metadata={"jobs_by_code": found},
    )
    refused = Counter(
        str(item.error.code)
        for item in batch.items
        if item.error and item.outcome is Outcome.FAILED and isinstance(item.error, Rejection)
    )
    yield _evaluation(
        refused_pushes,
        passed=not refused,
        severity=_WARN,
        description=_line(refused),
        metadata={"jobs_by_code": dict(refused)},
    )
    passed, figures = _age(report.longest_wait(batch), settings)
    yield _evaluation(queue_age, passed=passed, severity=_WARN, metadata=figures)
    if batch.results and settings.phase_budgets:
        over = {excess.job_id for excess in batch.excesses}
        yield _evaluation(
            phase_budgets,
            passed=not over,
            severity=_WARN,
            metadata={
                "budgets_ms": dict(settings.phase_budgets),
                "jobs_judged": len(batch.results),
                "jobs_over_budget": len(over),
                "worst": table(report.excess_rows(batch), report.EXCESS_COLUMNS),
            },
        )


def _line(counts: Mapping[str, int]) -> str | None:
    """Return counts as a line, for the UI hides a mapping behind a click."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or None


def _age(seconds: float, settings: Settings) -> tuple[bool, dict[str, float]]:
    most = settings.queue_age_seconds
    return seconds <= most, {"oldest_seconds": round(seconds, 3), "most_seconds": most}


def _evaluation(
    check: dg.AssetChecksDefinition,
    *,
    passed: bool,
    severity: dg.AssetCheckSeverity,
    metadata: Mapping[str, Any],
    description: str | None = None,
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=MPACK_INDEX.key,
        check_name=check.check_key.name,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


def _tags(batch: Batch) -> dict[str, str]:
    """Return the tags of a run in which something went wrong; of any other, none."""
    outcomes = Counter(item.outcome for item in batch.items)
    counts = {"failed": outcomes[Outcome.FAILED], "put_back": outcomes[Outcome.PUT_BACK]}
    tags = {f"musehub/{name}": str(count) for name, count in counts.items() if count}
    codes = sorted({str(item.error.code) for item in batch.items if item.error})
    return tags | ({"musehub/codes": ",".join(codes)} if codes else {})
