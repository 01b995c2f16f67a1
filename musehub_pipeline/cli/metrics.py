"""`metrics`: the queue as OpenMetrics, for Prometheus and what speaks like it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import version
from socketserver import ThreadingMixIn
from threading import Lock
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest

from musehub_pipeline import local
from musehub_pipeline.cli.console import err, out
from musehub_pipeline.cli.options import age_option
from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.domain.job import Status
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.status import queue_standing
from musehub_pipeline.queue.totals import BUCKETS, Histogram, Totals, jobs_by_status
from musehub_pipeline.settings import Settings

_TEXT = [("Content-Type", "text/plain; charset=utf-8")]
_HOUR = timedelta(hours=1)


def metrics(
    serve: Annotated[
        bool, typer.Option("--serve/--once", help="Answer scrapes until Ctrl-C, or print once.")
    ] = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any.")] = 9464,
    since: Annotated[
        timedelta | None, age_option("--since", "How far back counters begin", default="1h")
    ] = None,
) -> None:
    """Print or serve the queue's figures in the OpenMetrics format.

    Gauges show the queue as it is. Counters and histograms only grow. They start with jobs that
    ended in the hour before the command began (see --since), at most the newest 2,000 of them. Each
    scrape reads the jobs that ended since the last one, so a long past does not make it slower.

    Without --serve, the figures are printed once. With it, the command answers at /metrics,
    /healthz (the process answers) and /readyz (the database answers, too). There is no password:
    listen on an address that only the monitor reaches.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        begun: datetime = queue_standing(database)["at"]
        registry = CollectorRegistry()
        registry.register(_Figures(database, since=begun - (_HOUR if since is None else since)))
        if serve:
            _serve(registry, database, host=host, port=port)
        else:
            out.print(generate_latest(registry).decode(), end="")


class _Figures:
    """What a scrape finds; implements prometheus_client's `Collector`."""

    def __init__(self, database: Database, *, since: datetime) -> None:
        self._database = database
        self._totals = Totals(database, since=since)
        self._lock = Lock()  # scrapes come in threads

    def describe(self) -> Iterable[Metric]:
        return ()  # without it, the registry would ask the database when this is registered

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            self._totals.look()
            yield InfoMetricFamily(
                "musehub_pipeline", "The pipeline.", {"version": version("musehub-pipeline")}
            )
            yield from _standing(self._database)
            yield from _ended(self._totals)


def _standing(database: Database) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "musehub_jobs", "Jobs by status; of many, the database's estimate.", labels=["status"]
    )
    standing, counts = queue_standing(database), jobs_by_status(database)
    counts |= {Status.PENDING: standing["pending"], Status.RUNNING: standing["running"]}
    for name, count in counts.items():
        jobs.add_metric([name], count)
    yield jobs
    oldest = standing["oldest_pending_seconds"] or 0.0
    for name, text, value in (
        ("musehub_jobs_due", "Jobs that a run would take now.", standing["due"]),
        ("musehub_jobs_in_backoff", "Jobs that wait for another attempt.", standing["in_backoff"]),
        ("musehub_jobs_paused", "Jobs that an operator holds back.", standing["paused"]),
        (
            "musehub_leases_expired",
            "Jobs whose run died and that no other has taken yet.",
            standing["expired_leases"],
        ),
        ("musehub_oldest_pending_seconds", "Age of the oldest job that waits.", oldest),
    ):
        yield GaugeMetricFamily(name, text, value=value)


def _ended(totals: Totals) -> Iterator[Metric]:
    yield CounterMetricFamily("musehub_jobs_done", "Jobs done.", value=totals.done)
    failed = CounterMetricFamily("musehub_jobs_failed", "Jobs failed, by reason.", labels=["code"])
    for code, jobs in sorted(totals.failed.items()):
        failed.add_metric([code], jobs)
    yield failed
    yield CounterMetricFamily(
        "musehub_attempts", "Attempts of the jobs that ended.", value=totals.attempts
    )
    yield CounterMetricFamily(
        "musehub_mpack_bytes", "Bytes of the mpacks of done jobs.", value=totals.mpack_bytes
    )
    wait = HistogramMetricFamily("musehub_job_wait_seconds", "From a push to its first claim.")
    _add(wait, [], totals.wait)
    yield wait
    elapsed = HistogramMetricFamily("musehub_job_elapsed_seconds", "A job's own part of its run.")
    _add(elapsed, [], totals.elapsed)
    yield elapsed
    phases = HistogramMetricFamily(
        "musehub_phase_seconds", "A job's own part of a phase.", labels=["phase"]
    )
    for phase, histogram in totals.phases.items():
        _add(phases, [phase], histogram)
    yield phases


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*BUCKETS, "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((str(bound), total))
    family.add_metric(labels, buckets, sum_value=histogram.seconds)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of a scrape that went well."""


def _serve(registry: CollectorRegistry, database: Database, *, host: str, port: int) -> None:
    """Answer until Ctrl-C or SIGTERM.

    Raises:
        OSError: the address cannot be had.
    """
    answer_scrape = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            match environ["PATH_INFO"]:
                case "/metrics":
                    return answer_scrape(environ, start_response)
                case "/readyz":
                    queue_standing(database)
                case "/healthz":
                    pass
                case _:
                    start_response("404 Not Found", _TEXT)
                    return [b"/metrics, /healthz or /readyz\n"]
        except Transient as trouble:
            start_response("503 Service Unavailable", _TEXT)
            return [f"{trouble}\n".encode()]
        start_response("200 OK", _TEXT)
        return [b"ok\n"]

    with make_server(host, port, answer, server_class=_Server, handler_class=_Quiet) as server:
        err.print(f"serving http://{host}:{server.server_port}/metrics")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
