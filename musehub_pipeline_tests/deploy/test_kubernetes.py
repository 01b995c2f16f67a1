"""`deploy/kubernetes`: Kubernetes knows what it says, and Dagster begins a run by its values.

There is no cluster: what Dagster asks one for is taken down, and the pod's process started here.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.launcher import WorkerStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from sqlalchemy import make_url

from musehub_pipeline.definitions import defs
from musehub_pipeline.orchestration.launcher import LaneRunCoordinator
from musehub_pipeline.orchestration.pods import PodRunLauncher
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.deploy.container import HOME, ROOT, USER, Container, seen_in_there
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.test_launcher import ORIGIN
from musehub_pipeline_tests.servers.postgres import Postgres

FOLDER = ROOT / "deploy/kubernetes"
VERSIONS = ("1.31.0", "1.37.0")
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text("utf-8"))
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
]
PARTS = {"code", "daemon", "fsck", "metrics", "run", "upgrade", "web", "worker"}
PASSWORD = "anything"


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def template(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return what its pods are made of; None where it has none."""
    spec = manifest["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"].get("template")


PODS = {named(manifest): pod for manifest in MANIFESTS if (pod := template(manifest))}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_all_that_a_manifest_says(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomize_makes_the_manifests_of_it() -> None:
    if not (kubectl := shutil.which("kubectl")):
        pytest.skip("there is no kubectl")

    made = subprocess.run(
        [kubectl, "kustomize", str(FOLDER)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout

    kinds = sorted(manifest["kind"] for manifest in yaml.safe_load_all(made))
    assert kinds == sorted(["ConfigMap", *(manifest["kind"] for manifest in MANIFESTS)])
    assert "image: musehub-pipeline" not in made


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_can_do_little_and_write_little(pod: str) -> None:
    assert_can_do_little(PODS[pod]["spec"])


def assert_can_do_little(spec: dict[str, Any]) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == {
        "home": HOME,
        "tmp": "/tmp",
    }
    assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"])
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("part", ["dagsterDaemon", "dagsterWebserver", "code"])
def test_so_it_is_with_those_of_the_chart(part: str) -> None:
    [code] = VALUES["dagster-user-deployments"]["deployments"]
    said = VALUES.get(part, code)

    assert_can_do_little(
        {
            "automountServiceAccountToken": False,  # the chart's own to say
            "securityContext": said["podSecurityContext"],
            "volumes": said["volumes"],
            "containers": [said],
        }
    )


def test_who_may_talk_is_said_of_what_there_is() -> None:
    [code] = VALUES["dagster-user-deployments"]["deployments"]
    charts = [code, VALUES["dagsterDaemon"], VALUES["dagsterWebserver"]]
    config = VALUES["runLauncher"]["config"]["customRunLauncher"]["config"]
    run = config["run_k8s_config"]["pod_template_spec_metadata"]
    ours = [pod["metadata"] for pod in PODS.values()]

    parts = {said["labels"]["musehub/part"] for said in [*charts, run, *ours]}

    assert parts == PARTS
    text = (FOLDER / "network.yaml").read_text("utf-8")
    selected = {word.strip(" {}[],") for word in text.replace("[", " ").split()} & PARTS
    assert selected == PARTS - {"upgrade"}  # it has what all have


def test_what_pods_read_is_a_setting() -> None:
    [generated] = KUSTOMIZATION["configMapGenerator"]
    known = {f"MUSEHUB_{name.upper()}" for name in Settings.model_fields} | {"AWS_REGION"}

    assert {literal.partition("=")[0] for literal in generated["literals"]} <= known


@pytest.mark.parametrize("pod", PODS)
def test_what_a_pod_starts_exists_with_all_its_options(pod: str) -> None:
    [container] = PODS[pod]["spec"]["containers"]
    program, *arguments = container["args"]

    # The last word only keeps it from starting: what it does not know, it refuses before.
    asked = call(*arguments, "--help")

    assert (program, asked.code) == ("musehub-pipeline", 0), asked.err


def instance_config() -> dict[str, Any]:
    """Return what the chart makes of the values: its dagster.yaml."""
    postgres, daemon = VALUES["postgresql"], VALUES["dagsterDaemon"]
    records = {
        "username": postgres["postgresqlUsername"],
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": postgres["postgresqlHost"],
        "db_name": postgres["postgresqlDatabase"],
        "port": 5432,
        "params": {},
        "scheme": postgres["postgresqlScheme"],
    }
    monitoring = daemon["runMonitoring"]
    return {
        **{
            f"{name}_storage": {
                "module": f"dagster_postgres.{module}",
                "class": f"Postgres{kind}Storage",
                "config": {"postgres_db": records},
            }
            for name, module, kind in (
                ("run", "run_storage", "Run"),
                ("event_log", "event_log", "EventLog"),
                ("schedule", "schedule_storage", "Schedule"),
            )
        },
        "run_launcher": VALUES["runLauncher"]["config"]["customRunLauncher"],
        "run_coordinator": daemon["runCoordinator"]["config"]["customRunCoordinator"],
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
        },
        "run_retries": {"enabled": daemon["runRetries"]["enabled"]},
        "sensors": {
            "use_threads": daemon["sensors"]["useThreads"],
            "num_workers": daemon["sensors"]["numWorkers"],
        },
        "retention": {
            kind: {"purge_after_days": VALUES["retention"][kind]["purgeAfterDays"]}
            for kind in ("sensor", "schedule")
        },
        "python_logs": {"managed_python_loggers": VALUES["pythonLogs"]["managedPythonLoggers"]},
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": VALUES["computeLogManager"]["type"],
        },
        "telemetry": VALUES["telemetry"],
    } | VALUES["additionalInstanceConfig"]


def test_dagster_runs_as_on_one_machine_but_for_where() -> None:
    there = instance_config()
    here = yaml.safe_load((ROOT / "deploy/dagster/dagster.yaml").read_text("utf-8"))

    assert {name for name, said in here.items() if there.get(name) != said} == {
        "storage",
        "run_launcher",
        "run_monitoring",
        "compute_logs",
    }
    assert (
        there["run_monitoring"]["start_timeout_seconds"]
        > (here["run_monitoring"]["start_timeout_seconds"])
    )


class Cluster(ThreadingHTTPServer):
    """What takes down which jobs it is asked to make, and knows of none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[dict[str, Any]] = []


class Answers(BaseHTTPRequestHandler):
    server: Cluster

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(json.loads(body))
        self.answer(201, body)

    def do_GET(self) -> None:
        self.answer(404, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of it."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def instance(
    cluster: Cluster, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance as the chart has it, on a database here."""
    url = make_url(postgres.create_database(name := f"dagster_{uuid4().hex}"))
    context = {"cluster": "here", "user": "nobody"}
    (tmp_path / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": context}],
                "clusters": [
                    {
                        "name": "here",
                        "cluster": {"server": f"http://127.0.0.1:{cluster.server_port}"},
                    }
                ],
                "users": [{"name": "nobody", "user": {}}],
            }
        )
    )
    config = instance_config()
    here = {"load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    config["run_launcher"]["config"] |= here
    for storage in ("run_storage", "event_log_storage", "schedule_storage"):
        records = config[storage]["config"]["postgres_db"]
        records |= {"username": url.username, "db_name": url.database, "hostname": ""}
        records["params"] = {"host": url.query["host"]}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", PASSWORD)
    with dg.DagsterInstance.get() as instance:
        yield instance
    postgres.drop_database(name)


@pytest.mark.slow
def test_a_run_is_a_pod_that_indexes_a_push(
    instance: dg.DagsterInstance,
    cluster: Cluster,
    container: Container,
    postgres: Postgres,
    database_url: str,
) -> None:
    (container.folder / "home/song.mpack").write_bytes(small_history().mpack())
    push = ["push", f"{HOME}/song.mpack", "--repo", "ada/song", "--create"]
    container.run("musehub-pipeline", *push)
    origin = ORIGIN._replace(
        repository_origin=ORIGIN.repository_origin._replace(container_image="image:1")
    )
    run = instance.create_run_for_job(defs.get_job_def("index_mpacks"), job_code_origin=origin)

    instance.launch_run(run.run_id, workspace=None)  # pyright: ignore[reportArgumentType]

    [job] = cluster.asked
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    spec = job["spec"]["template"]["spec"]
    assert_can_do_little(spec)
    [pod] = spec["containers"]
    assert pod["image"] == "image:1"
    assert pod["envFrom"] == [
        {"configMapRef": {"name": "musehub"}},
        {"secretRef": {"name": "musehub-worker"}},
    ]
    assert instance.run_coordinator.__class__ is LaneRunCoordinator
    environment = {each["name"]: each.get("value", PASSWORD) for each in pod["env"]}
    container.run(
        *(seen_in_there(postgres, argument) for argument in pod["args"]), environment=environment
    )
    ended = instance.get_run_by_id(run.run_id)
    assert ended
    assert ended.status == dg.DagsterRunStatus.SUCCESS
    hub = Hub(Settings.load({"database_url": database_url}))
    assert hub.sql("SELECT status FROM musehub_background_jobs") == [{"status": "done"}]


def test_a_run_without_a_pod_is_failed_only_where_it_should_have_one(
    instance: dg.DagsterInstance, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(hub.create_repo(), small_history().mpack())
    for name in ("database_url", "storage_url", "home"):
        monkeypatch.setenv(f"MUSEHUB_{name.upper()}", str(getattr(hub.settings, name)))
    assert call("index").code == 0
    [of_a_command] = instance.get_runs()
    location = RegisteredCodeLocationOrigin("musehub_pipeline")
    launched = instance.create_run_for_job(
        defs.get_job_def("index_mpacks"),
        job_code_origin=ORIGIN,
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(location, "__repository__"), "index_mpacks"
        ),
    )

    healths = [
        instance.run_launcher.check_run_worker_health(run).status
        for run in (of_a_command, launched)
    ]

    assert isinstance(instance.run_launcher, PodRunLauncher)
    assert healths == [WorkerStatus.RUNNING, WorkerStatus.UNKNOWN]
