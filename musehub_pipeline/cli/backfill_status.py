"""`backfill status`: how far all is indexed by the version of now."""

from musehub_pipeline import local
from musehub_pipeline.cli.backfill_plan import estimate_text
from musehub_pipeline.cli.choice import midnight
from musehub_pipeline.cli.console import JsonFlag, print_json, print_pairs
from musehub_pipeline.domain.backfill import estimate, given_up_line
from musehub_pipeline.phases.services import open_archive, open_database
from musehub_pipeline.queue.reindex import Standing
from musehub_pipeline.settings import Settings


def status(as_json: JsonFlag = False) -> None:
    """Show how far backfills have got: how many jobs are current, outdated and failed.

    Given up are those over which MUSEHUB_MAX_KILLS runs have died; raise it to try them again.
    Leased is what runs are indexing again at this moment, from here or from the UI. Jobs of deleted
    repositories are left out; those pushed before MUSEHUB_BACKFILL_START are counted separately,
    since no backfill takes them. The remaining time is that of the outdated jobs, estimated as by
    `backfill plan`.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        archive = open_archive(database, settings)
        standing = archive.standing(since=midnight(settings.backfill_start))
        pace = archive.pace()
    seconds = estimate(pace, jobs=standing["outdated"], mpack_bytes=standing["outdated_bytes"])
    if as_json:
        print_json(standing | {"pace": pace and pace.as_dict(), "estimated_seconds": seconds})
    else:
        print_pairs(_lines(standing) | {"remaining time": estimate_text(pace, seconds)})


def _lines(standing: Standing) -> dict[str, object]:
    failed = standing["failed"]
    by_code = ", ".join(f"{code} {jobs:,}" for code, jobs in failed.items())
    return {
        "at": standing["at"],
        "current": f"{standing['current']:,}",
        "outdated": f"{standing['outdated']:,}, {standing['outdated_bytes']:,} bytes",
        "failed": f"{sum(failed.values()):,}: {by_code}" if failed else "0",
        "given up": given_up_line(standing["given_up"]) if standing["given_up"] else "0",
        "before MUSEHUB_BACKFILL_START": f"{standing['before']:,}",
        "leased now": f"{standing['leased']:,} by {standing['runs']:,} runs",
    }
