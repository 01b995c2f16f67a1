"""The alerts and the dashboard: a real Prometheus and the hub's database answer what they ask."""

import json
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from musehub_pipeline_tests.cli.terminal import finish, start
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers import debian
from musehub_pipeline_tests.waiting import wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yml"
RULES = [
    rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]
]
TARGETS = [
    target
    for panel in json.loads((DEPLOY / "grafana/musehub_pipeline.json").read_text("utf-8"))["panels"]
    for target in panel["targets"]
]


@pytest.fixture
def busy(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with a job that is done and one that failed, which the environment names."""
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", str(hub.settings.database_url))
    hub.index(hub.push(hub.create_repo("a"), small_history().mpack()))
    with pytest.raises(Exception, match="MPACK_MALFORMED"):
        hub.index(hub.push(hub.create_repo("b"), b"\xc1"))
    return hub


@pytest.fixture
def scraped(busy: Hub) -> Iterator[str]:
    """The address of `metrics` of that hub."""
    process = start("metrics", "--serve", "--port", "0")
    try:
        assert process.stderr is not None
        *_, url = process.stderr.readline().split()
        yield url.removeprefix("http://").removesuffix("/metrics")
    finally:
        process.send_signal(signal.SIGTERM)
        finish(process)


@pytest.fixture
def prometheus(scraped: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a Prometheus that scrapes it, with the alerts as its rules."""
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": "musehub", "static_configs": [{"targets": [scraped]}]},
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = {
        "config.file": tmp_path / "prometheus.yml",
        "storage.tsdb.path": tmp_path / "data",
        "web.listen-address": "127.0.0.1:0",
    }
    command = [debian.program("prometheus"), *(f"--{name}={v}" for name, v in options.items())]
    said = tmp_path / "log"
    with said.open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            found: list[str] = []

            def listens() -> bool:
                found[:] = re.findall(r"Listening on.* address=(127\S+)", said.read_text())
                return bool(found) and "Server is ready" in said.read_text()

            wait_for(listens)
            yield f"http://{found[0]}/api/v1"
        finally:
            process.terminate()


def ask(prometheus: str, path: str, **parameters: str) -> Any:
    """Return what Prometheus answers; a mistake in an expression is an HTTP error."""
    url = f"{prometheus}/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]


def test_promtool_finds_no_fault_with_the_alerts() -> None:
    promtool = Path(debian.program("prometheus")).with_name("promtool")

    checked = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, check=False)

    assert checked.returncode == 0, checked.stderr
    assert f"{len(RULES)} rules found".encode() in checked.stdout


def test_prometheus_answers_all_that_alerts_and_dashboard_ask(prometheus: str) -> None:
    waiting = [
        target["expr"].replace("$__rate_interval", "1m") for target in TARGETS if "expr" in target
    ]
    assert len(waiting) > 10

    def all_are_answered() -> bool:  # once there were two scrapes, which a rate takes
        waiting[:] = [
            text for text in waiting if not ask(prometheus, "query", query=text)["result"]
        ]
        return not waiting

    wait_for(all_are_answered)
    wait_for(lambda: all(rule["health"] != "unknown" for rule in judged(prometheus).values()))

    assert {name: rule["health"] for name, rule in judged(prometheus).items()} == {
        rule["alert"]: "ok" for rule in RULES
    }


def judged(prometheus: str) -> dict[str, Any]:
    """Return the rules as Prometheus has judged them, by name."""
    [group] = ask(prometheus, "rules")["groups"]
    return {rule["name"]: rule for rule in group["rules"]}


def test_the_database_answers_what_the_dashboard_asks(busy: Hub) -> None:
    def rows(target: dict[str, Any]) -> list[Any]:
        return busy.sql(re.sub(r"\$__timeFilter\((.*?)\)", r"\1 > '2020-01-01'", target["rawSql"]))

    slowest, failed = [rows(target) for target in TARGETS if "rawSql" in target]

    assert [row["repo"] for row in slowest] == ["ada/a"]
    assert slowest[0]["elapsed_ms"] > 0
    assert [(row["error_code"], row["jobs"]) for row in failed] == [("MPACK_MALFORMED", 1)]
