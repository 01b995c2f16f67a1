"""The page of `stats --html`: one file with charts, which asks for nothing beside itself."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from musehub_pipeline.cli.console import cell, plain
from musehub_pipeline.cli.stats import (
    REPOS_COLUMNS,
    TIMES_COLUMNS,
    repos_rows,
    summary,
    times_rows,
)
from musehub_pipeline.domain import ids
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline.queue.stats import Course, Stats, TimedJob

_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7")
"""One a phase; people who see colours otherwise can tell them apart (Okabe and Ito, 2008)."""

_CONFIG = {"responsive": True, "displaylogo": False}
_HEIGHT = 380  # pixels
_REPO_CHARACTERS = 24

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 0 auto;
  padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 0; }
p.about { color: #555; margin: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .7rem .15rem 0; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; white-space: normal;
  overflow-wrap: anywhere; min-width: 8rem; }
th { border-bottom: 1px solid #999; font-weight: 600; }
.wide { overflow-x: auto; }
@media (max-width: 40rem) { table { font-size: .8rem; } }
@media print { body { padding: 0; font-size: 11px; } section { break-inside: avoid; } }
"""


def page(stats: Stats, course: Course) -> str:
    """Return statistics and how their period went as an HTML document."""
    period = {"from": stats["since"], "to": stats["at"]}
    body = _charts(stats, course) if stats["jobs"] else ["<p>No job was done in this time.</p>"]
    script = f"<script>{get_plotlyjs()}</script>" if stats["jobs"] else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>mpack.index, {_text(cell(stats['at']))}</title>"
        f"<style>{_STYLE}</style>{script}</head><body>"
        f"<h1>mpack.index</h1>{_table((), (period | summary(stats)).items())}{''.join(body)}"
        f"{_failed(stats)}</body></html>\n"
    )


def _charts(stats: Stats, course: Course) -> list[str]:
    return [
        _section(
            "Where the time goes",
            "What the phases of an average job took, in milliseconds.",
            _chart("phases", _phases(course)),
        ),
        _section(
            "How long pushes wait",
            "From a push to its first claim, in seconds.",
            _chart("wait", _wait(course)),
        ),
        _section(
            "Size and time",
            f"The newest {len(course.newest):,} jobs: bytes of the mpack, milliseconds at work.",
            _chart("size", _size(course.newest)),
        ),
        _section(
            "Slowest jobs", "Milliseconds by phase.", _chart("slowest", _slowest(course.slowest))
        ),
        _section(
            "Phases",
            "Milliseconds of a job, and the part of all work.",
            _table(TIMES_COLUMNS, times_rows(stats)),
        ),
        _section(
            "Busiest repositories",
            "By the time that their jobs took.",
            _table(REPOS_COLUMNS, repos_rows(stats)),
        ),
    ]


def _failed(stats: Stats) -> str:
    if not stats["failed"]:
        return ""
    table = _table(("reason", "jobs"), stats["failed"].items())
    return _section("Failed", "Pushes that were refused or given up, by reason.", table)


def _phases(course: Course) -> go.Figure:
    parts = course.parts
    begins = [part["begins_at"] for part in parts]
    bars = [
        go.Bar(
            name=key.removesuffix("_ms"),
            x=begins,
            y=[part[key] for part in parts],
            width=course.part_seconds * 1_000,
            offset=0,
            marker_color=colour,
        )
        for key, colour in zip(TIMINGS, _COLOURS, strict=True)
    ]
    figure = go.Figure(bars).update_layout(barmode="stack", yaxis_title="ms")
    return figure.update_xaxes(range=course.period)


def _wait(course: Course) -> go.Figure:
    parts = course.parts
    begins = [part["begins_at"] for part in parts]
    lines = [
        go.Scatter(
            name=name,
            x=begins,
            y=[None if (ms := part[key]) is None else ms / 1_000 for part in parts],
            mode="lines+markers",
            line_color=colour,
        )
        for name, key, colour in (
            ("p50", "wait_p50_ms", _COLOURS[0]),
            ("p95", "wait_p95_ms", _COLOURS[5]),
        )
    ]
    figure = go.Figure(lines).update_yaxes(title="s", rangemode="tozero")
    return figure.update_xaxes(range=course.period)


def _size(jobs: Sequence[TimedJob]) -> go.Figure:
    points = go.Scatter(
        x=[job["mpack_size_bytes"] for job in jobs],
        y=[job["elapsed_ms"] for job in jobs],
        text=[_name(job) for job in jobs],
        mode="markers",
        marker={"color": _COLOURS[0], "opacity": 0.5},
    )
    figure = go.Figure(points).update_layout(showlegend=False)
    return figure.update_xaxes(type="log", title="bytes").update_yaxes(type="log", title="ms")


def _slowest(jobs: Sequence[TimedJob]) -> go.Figure:
    bars = [
        go.Bar(
            name=key.removesuffix("_ms"),
            x=[job[key] for job in jobs],
            y=[_name(job) for job in jobs],
            orientation="h",
            marker_color=colour,
        )
        for key, colour in zip(TIMINGS, _COLOURS, strict=True)
    ]
    figure = go.Figure(bars).update_layout(barmode="stack", xaxis_title="ms")
    return figure.update_yaxes(autorange="reversed", automargin=True)


def _name(job: TimedJob) -> str:
    repo, job_id = one_line(job["repo"], longest=_REPO_CHARACTERS), ids.short(job["job_id"])
    return f"{_text(repo)}<br>{_text(job_id)}"


def _chart(name: str, figure: go.Figure) -> str:
    figure.update_layout(
        template="plotly_white",
        height=_HEIGHT,
        margin={"l": 50, "r": 10, "t": 10, "b": 40},
        legend={"orientation": "h", "y": -0.2},
    )
    return figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        include_mathjax=False,
        config=_CONFIG,
        div_id=name,
    )


def _section(title: str, about: str, content: str) -> str:
    return (
        f"<section><h2>{title}</h2><p class=about>{about}</p><div class=wide>{content}</div>"
        "</section>"
    )


def _table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(cell(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return f"<table>{head and f'<tr>{head}</tr>'}{body}</table>"


def _text(text: str) -> str:
    """Return a text that strangers may have written as HTML, which charts read too."""
    return escape(plain(text))
