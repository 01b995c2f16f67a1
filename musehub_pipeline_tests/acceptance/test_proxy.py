"""Who may do what in production's UI: nginx asks for passwords, as `deploy/dagster` has it."""

import json
import re
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import psycopg
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from musehub_pipeline_tests.acceptance import mutations
from musehub_pipeline_tests.acceptance.production import free_port, port_of, started
from musehub_pipeline_tests.conftest import TEMPLATE, bare_environment, settings_of
from musehub_pipeline_tests.hub import Hub, disconnect
from musehub_pipeline_tests.servers import debian
from musehub_pipeline_tests.servers.certificate import certify
from musehub_pipeline_tests.servers.nginx import Nginx
from musehub_pipeline_tests.servers.postgres import Postgres
from musehub_pipeline_tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("proxy")]

UNITS = ("musehub-code", "musehub-web", "musehub-web-readonly")
OPERATOR = "operator:plays"
VIEWER = "viewer:listens"
NAMESAKE = "OPERATOR:listens"
USERS = (OPERATOR, VIEWER, NAMESAKE)
REFUSED = re.compile(r"UnauthorizedError|You do not have permission to terminate this run")


class Front:
    """What is reached of the UI from outside."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.plain_port = free_port()
        self.certificate, self.key = folder / "certificate", folder / "key"
        certify(self.certificate, self.key)
        self._trusted = ssl.create_default_context(cafile=str(self.certificate))

    def ask(
        self, path: str, *, login: str = "", post: object = None, site: str = "same-origin"
    ) -> tuple[int, str]:
        """Return the status and the text of an answer to what a page of a site asks for."""
        method, body = ("GET", None) if post is None else ("POST", json.dumps(post))
        headers = {"Content-Type": "application/json", **_headers(login, site)}
        connection = HTTPSConnection("127.0.0.1", self.port, context=self._trusted, timeout=60)
        with closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def graphql(self, operation: str, *, login: str) -> str:
        """Return the answer as it was sent."""
        return self.ask("/graphql", login=login, post={"query": operation})[1]

    def query(self, fields: str, *, login: str) -> Any:
        return json.loads(self.graphql(f"{{{fields}}}", login=login))["data"]

    def change(self, mutation: str, *, login: str) -> Any:
        answer = self.graphql(f"mutation {{{mutation}}}", login=login)
        [changed] = json.loads(answer)["data"].values()
        return changed

    def websocket(self, *, login: str, site: str = "same-origin") -> ClientConnection:
        return connect(
            f"wss://127.0.0.1:{self.port}/graphql",
            ssl=self._trusted,
            subprotocols=["graphql-ws"],  # pyright: ignore[reportArgumentType]
            additional_headers=_headers(login, site),
        )

    def is_ready(self, login: str) -> bool:
        """Return whether the UI of somebody answers, and has heard of the sensor."""
        status, _ = self.ask("/server_info", login=login)
        return status == 200 and self.query(mutations.IDS, login=login)["sensorOrError"] != {}


def _headers(login: str, site: str) -> dict[str, str]:
    headers = {"Sec-Fetch-Site": site}
    if login:
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return headers


def _user(login: str) -> str:
    name, password = login.split(":")
    command = [debian.program("openssl"), "passwd", "-6", password]
    return f"{name}:{subprocess.check_output(command, text=True)}"


@pytest.fixture(scope="module")
def records_url(postgres: Postgres) -> Iterator[str]:
    """The database of Dagster's records."""
    yield (url := postgres.create_database("proxy_dagster"))
    disconnect(url)


@pytest.fixture(scope="module")
def front(
    postgres: Postgres, records_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Both kinds of UI on one home, behind nginx."""
    debian.program("nginx")
    folder = tmp_path_factory.mktemp("proxy")
    front = Front(folder)
    with bare_environment():
        hub = Hub(settings_of(postgres.create_database("proxy", TEMPLATE), folder))
        production = started(
            UNITS, folder=folder / "srv", hub=hub, dagster_database_url=records_url
        )
        with production as units:
            ports = [port_of(units[unit]) for unit in ("musehub-web", "musehub-web-readonly")]
            files = {
                "site": _site((folder / "srv" / "nginx.conf").read_text(), front, *ports),
                "passwords": "".join(map(_user, USERS)),
                "certificate": front.certificate.read_text(),
                "key": front.key.read_text(),
            }
            with Nginx(files, port=front.port):
                for login in (OPERATOR, VIEWER):
                    wait_for(lambda login=login: front.is_ready(login))
                yield front
    disconnect(str(hub.settings.database_url))


def _site(text: str, front: Front, full_port: int, readonly_port: int) -> str:
    """Return what is shipped, with what is filled in for the test."""
    for shipped, ours in {
        r"listen \[::\]:.*": "",
        r"listen 80;": f"listen 127.0.0.1:{front.plain_port};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{front.port} ssl;",
        r"server_name .*": "server_name 127.0.0.1;",
        r"ssl_certificate /.*": "ssl_certificate certificate;",
        r"ssl_certificate_key /.*": "ssl_certificate_key key;",
        r"auth_basic_user_file /.*": "auth_basic_user_file passwords;",
        r"127\.0\.0\.1:3000;": f"127.0.0.1:{full_port};",
        r"127\.0\.0\.1:3001;": f"127.0.0.1:{readonly_port};",
    }.items():
        text, places = re.subn(shipped, ours, text)
        assert places, shipped
    return text


@pytest.fixture(scope="module")
def target(front: Front, records_url: str) -> mutations.Target:
    """A run that waits for a daemon, and a backfill that is over: no other can be redone."""
    ids = front.query(mutations.IDS, login=OPERATOR)
    run = front.change(mutations.LAUNCH_RUN, login=OPERATOR)["run"]["runId"]
    backfill = front.change(mutations.LAUNCH_BACKFILL, login=OPERATOR)["backfillId"]
    with psycopg.connect(records_url) as connection:
        connection.execute(
            "UPDATE bulk_actions SET status = 'CANCELED', body = replace(body, status, 'CANCELED')"
        )
    return mutations.Target(
        run=run,
        backfill=backfill,
        sensor=ids["sensorOrError"]["sensorState"]["id"],
        schedule=ids["scheduleOrError"]["scheduleState"]["id"],
    )


@pytest.mark.parametrize("path", ["/", "/server_info", "/graphql?query={version}", "/robots.txt"])
@pytest.mark.parametrize("login", ["", "viewer:plays", "nobody:listens", "operator:", ":"])
def test_nobody_gets_in_without_a_password(front: Front, login: str, path: str) -> None:
    status, _ = front.ask(path, login=login)

    assert status == 401


def test_no_password_is_asked_for_where_it_could_be_read(front: Front) -> None:
    with closing(HTTPConnection("127.0.0.1", front.plain_port, timeout=60)) as connection:
        connection.request("GET", "/runs?q=1")
        answer = connection.getresponse()

    assert (answer.status, answer.headers["Location"]) == (301, "https://127.0.0.1/runs?q=1")
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("login", USERS)
def test_all_with_a_password_see_the_ui(front: Front, target: mutations.Target, login: str) -> None:
    status, page = front.ask("/runs", login=login)

    assert status == 200
    assert ">Dagster</title>" in page
    assert target.run in front.graphql(f"{{{mutations.KEPT}}}", login=login)


@pytest.mark.parametrize("login", [VIEWER, NAMESAKE])
def test_a_viewer_can_change_nothing(front: Front, target: mutations.Target, login: str) -> None:
    before = front.query(mutations.KEPT, login=OPERATOR)
    tried = mutations.all_of(target)

    answers = {each: front.graphql(f"mutation {{{each}}}", login=login) for each in tried}

    assert {each: text for each, text in answers.items() if not REFUSED.search(text)} == {}
    assert front.query(mutations.KEPT, login=OPERATOR) == before


def test_nothing_that_can_be_changed_is_left_out(front: Front, target: mutations.Target) -> None:
    schema = front.query("__schema {mutationType {fields {name}}}", login=VIEWER)["__schema"]
    names = {field["name"] for field in schema["mutationType"]["fields"]}
    tried = {re.split(r"\W", each)[0] for each in mutations.all_of(target)}

    assert tried == names - mutations.HARMLESS


@pytest.mark.parametrize("kind", ["materialization", "observation", "check"])
def test_a_viewer_reports_nothing(front: Front, kind: str) -> None:
    event = {"check_name": "trouble", "passed": True} if kind == "check" else {}

    status, _ = front.ask(f"/report_asset_{kind}/musehub/mpack_index", login=VIEWER, post=event)

    assert status == 401


def test_an_operator_stops_and_starts_the_sensor_and_ends_a_run(
    front: Front, target: mutations.Target
) -> None:
    run = front.change(mutations.LAUNCH_RUN, login=OPERATOR)["run"]["runId"]

    def statuses() -> tuple[str, str]:
        kept = front.query(mutations.KEPT, login=VIEWER)
        [of_run] = [one for one in kept["runsOrError"]["results"] if one["runId"] == run]
        return kept["sensorOrError"]["sensorState"]["status"], of_run["status"]

    assert statuses() == ("RUNNING", "QUEUED")
    front.change(mutations.stop_sensor(target.sensor), login=OPERATOR)
    front.change(mutations.terminate_run(run), login=OPERATOR)
    assert statuses() == ("STOPPED", "CANCELED")
    front.change(mutations.START_SENSOR, login=OPERATOR)
    assert statuses() == ("RUNNING", "CANCELED")


@pytest.mark.parametrize("login", [OPERATOR, VIEWER])
def test_a_page_is_told_what_a_run_does(front: Front, target: mutations.Target, login: str) -> None:
    logs = f'subscription {{pipelineRunLogs(runId: "{target.run}") {{__typename}}}}'
    with front.websocket(login=login) as websocket:
        websocket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(websocket.recv(timeout=60)) == {"type": "connection_ack"}
        websocket.send(json.dumps({"type": "start", "id": "1", "payload": {"query": logs}}))

        told = json.loads(websocket.recv(timeout=60))

    assert told["payload"]["data"] == {
        "pipelineRunLogs": {"__typename": "PipelineRunLogsSubscriptionSuccess"}
    }


@pytest.mark.parametrize(
    ("login", "site", "status"), [("", "same-origin", 401), (OPERATOR, "cross-site", 403)]
)
def test_no_stranger_is_told(front: Front, login: str, site: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, front.websocket(login=login, site=site):
        pass

    assert refused.value.response.status_code == status


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_uses_no_operators_password(front: Front, site: str) -> None:
    mutation = "/graphql?query=mutation{reloadWorkspace{__typename}}"
    report = "/report_asset_materialization/musehub/mpack_index"

    assert front.ask(mutation, login=OPERATOR, site=site)[0] == 403
    assert front.ask(f"/x/..{mutation}", login=OPERATOR, site=site)[0] == 403
    assert front.ask("/graphql", login=OPERATOR, site=site, post={"query": "{version}"})[0] == 403
    assert front.ask(report, login=OPERATOR, site=site, post={})[0] == 403
    assert front.ask("/runs", login=OPERATOR, site=site)[0] == 200  # a link
