"""`metrics`: what a monitor is told of the queue, once and again and again."""

import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sqlalchemy import make_url

from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.queue.totals import Totals, jobs_by_status
from musehub_pipeline_tests.cli.terminal import call, finish, start
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_one
from musehub_pipeline_tests.servers.postgres import Postgres

Sample = tuple[str, tuple[tuple[str, str], ...]]


def parsed(text: str) -> dict[Sample, float]:
    """Return the samples of an exposition, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def named(samples: dict[Sample, float], name: str) -> dict[str, float]:
    """Return the samples of a name by their only label, or by nothing."""
    return {
        " ".join(value for _, value in labels): value
        for (each, labels), value in samples.items()
        if each == name
    }


@pytest.fixture
def busy(hub: Hub) -> Hub:
    """A hub with two jobs done, one failed, one in backoff, one due and one whose run died."""
    mpack = small_history().mpack()
    for slug in "ab":
        index_one(hub, hub.push(hub.create_repo(slug), mpack))
    refused = hub.push(hub.create_repo("c"), b"\xc1")
    index_one(hub, refused)
    for slug, change in (
        ("d", "not_before = now() + interval '1 hour'"),
        ("e", "created_at = now() - interval '90 s'"),
        ("f", "status = 'running', run_id = 'r', lease_expires_at = now() - interval '1 s'"),
    ):
        job_id = hub.push(hub.create_repo(slug), mpack)
        hub.sql(
            f"UPDATE musehub_background_jobs SET {change} WHERE job_id = %(id)s", {"id": job_id}
        )
    return hub


def test_it_tells_how_the_queue_stands_and_what_ended(busy: Hub) -> None:
    samples = parsed(call("metrics", "--once").out)

    rows = busy.sql("SELECT * FROM musehub_mpack_timings")
    assert named(samples, "musehub_jobs") == {"pending": 2, "running": 1, "done": 2, "failed": 1}
    assert named(samples, "musehub_jobs_due") == {"": 2}
    assert named(samples, "musehub_jobs_in_backoff") == {"": 1}
    assert named(samples, "musehub_leases_expired") == {"": 1}
    assert named(samples, "musehub_oldest_pending_seconds")[""] == pytest.approx(90, abs=30)
    assert named(samples, "musehub_jobs_done_total") == {"": 2}
    assert named(samples, "musehub_jobs_failed_total") == {"MPACK_MALFORMED": 1}
    assert named(samples, "musehub_attempts_total") == {"": 3}
    assert named(samples, "musehub_mpack_bytes_total") == {"": 2 * len(small_history().mpack())}
    assert named(samples, "musehub_job_elapsed_seconds_count") == {"": 2}
    assert named(samples, "musehub_job_elapsed_seconds_sum")[""] == pytest.approx(
        sum(row["elapsed_ms"] for row in rows) / 1e3
    )
    assert named(samples, "musehub_job_wait_seconds_count") == {"": 3}
    assert named(samples, "musehub_phase_seconds_count") == dict.fromkeys(TIMING_OF_PHASE, 2)
    for phase, key in TIMING_OF_PHASE.items():
        taken = sum(row[key] for row in rows) / 1e3
        assert named(samples, "musehub_phase_seconds_sum")[phase] == pytest.approx(taken)
        assert samples["musehub_phase_seconds_bucket", (("le", "+Inf"), ("phase", phase))] == 2


def test_an_empty_queue_has_zeros(hub: Hub) -> None:
    samples = parsed(call("metrics").out)

    standing = dict.fromkeys(("pending", "running", "done", "failed"), 0)
    assert named(samples, "musehub_jobs") == standing
    assert named(samples, "musehub_jobs_done_total") == {"": 0}
    assert set(named(samples, "musehub_phase_seconds_count").values()) == {0}


@pytest.fixture
def url(hub: Hub) -> Iterator[str]:
    process = start("metrics", "--serve", "--port", "0")
    try:
        assert process.stderr is not None
        *_, address = process.stderr.readline().split()
        yield address.removesuffix("/metrics")
    finally:
        process.send_signal(signal.SIGTERM)
        assert finish(process).code == 128 + signal.SIGTERM


def get(url: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url + path, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def scrape(url: str) -> dict[Sample, float]:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(f"{url}/metrics", headers=accept)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return parsed(answer.read().decode())


def test_scrapes_count_each_job_once_however_often_they_look(hub: Hub, url: str) -> None:
    first = hub.push(hub.create_repo("a"), small_history().mpack())
    index_one(hub, first)
    counts = [named(scrape(url), "musehub_jobs_done_total")[""] for _ in range(2)]

    # One that was committed late: it ended before what has been counted.
    index_one(hub, hub.push(hub.create_repo("b"), small_history().mpack()))
    hub.sql(
        "UPDATE musehub_background_jobs SET finished_at = finished_at - interval '5 s'"
        " WHERE job_id <> %(first)s",
        {"first": first},
    )
    counts += [named(scrape(url), "musehub_jobs_done_total")[""] for _ in range(2)]

    assert counts == [1, 1, 2, 2]
    assert get(url, "/healthz") == get(url, "/readyz") == (200, "ok\n")
    assert get(url, "/other")[0] == 404


def test_without_its_database_it_is_alive_and_not_ready(
    hub: Hub, postgres: Postgres, url: str
) -> None:
    database = make_url(str(hub.settings.database_url)).database or ""
    with postgres.closed(database):
        codes = {path: get(url, path)[0] for path in ("/healthz", "/readyz", "/metrics")}

    assert codes == {"/healthz": 200, "/readyz": 503, "/metrics": 503}
    assert get(url, "/readyz")[0] == 200


def test_of_many_that_ended_before_it_began_the_newest_count_and_then_all(
    hub: Hub,
) -> None:
    def end(*seconds_ago: int) -> None:
        for ago in seconds_ago:
            hub.sql(
                "INSERT INTO musehub_background_jobs"
                " (job_id, repo_id, job_type, payload, status, finished_at) VALUES"
                " (%(id)s, 'r', 'mpack.index', '{}', 'done',"
                " now() - make_interval(secs => %(ago)s))",
                {"id": str(ago), "ago": ago},
            )

    end(60, 50, 40, 39, 38)
    with open_database(hub.settings) as database:
        totals = Totals(database, since=datetime.now(UTC) - timedelta(hours=1))
        totals._most = 3
        counts = []
        for more in ((), (), (37, 30, 20, 10), ()):
            end(*more)
            totals.look()
            counts.append(totals.done)

    assert counts == [3, 3, 7, 7]


def test_after_an_idle_start_all_count_and_a_clock_that_was_ahead_hides_none(hub: Hub) -> None:
    def end(job_id: str, finished_at: str) -> None:
        hub.sql(
            "INSERT INTO musehub_background_jobs"
            " (job_id, repo_id, job_type, payload, status, finished_at)"
            f" VALUES (%(id)s, 'r', 'mpack.index', '{{}}', 'done', {finished_at})",
            {"id": job_id},
        )

    with open_database(hub.settings) as database:
        totals = Totals(database, since=datetime.now(UTC) - timedelta(hours=1))
        totals._most = 2
        counts = []
        for number in range(4):
            if number == 1:
                for each in ("a", "b", "c"):
                    end(each, "clock_timestamp()")
                end("ahead", "clock_timestamp() + interval '1 hour'")
            if number == 2:
                end("d", "clock_timestamp()")
            totals.look()
            counts.append(totals.done)

    assert counts == [0, 4, 5, 5]


def test_of_many_jobs_the_gauge_is_the_catalogues_estimate_or_not_there(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, status)"
        " SELECT n::text, 'r', 'mpack.index', '{}', CASE WHEN n % 4 = 0 THEN 'failed'"
        " ELSE 'done' END FROM generate_series(1, 1000) AS n"
    )
    with open_database(hub.settings) as database:
        counted = jobs_by_status(database)
        monkeypatch.setattr("musehub_pipeline.queue.totals._COUNTED_BYTES", 0)
        unknown = jobs_by_status(database)
        hub.sql("ANALYZE musehub_background_jobs")
        estimated = jobs_by_status(database)

    assert counted == {"pending": 0, "running": 0, "done": 750, "failed": 250}
    assert unknown == {}
    assert estimated == pytest.approx({"done": 750, "failed": 250}, rel=0.02)
