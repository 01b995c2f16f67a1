"""What Dagster loads, what loading it costs, and who may import whom."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.snap.job_snapshot import JobSnap
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap
from dagster_aws.s3 import S3Resource

import musehub_pipeline
from musehub_pipeline.definitions import build_defs, defs
from musehub_pipeline.objects.storage_client import S3Options
from musehub_pipeline.orchestration.assets import MPACK_INDEX
from musehub_pipeline.orchestration.resources import MusehubResource, fixed_resource
from musehub_pipeline.settings import Settings

PACKAGE = Path(musehub_pipeline.__file__).parent
PROJECT = PACKAGE.parent
OPS = [
    "claim_jobs",
    "fetch_mpack",
    "unpack",
    "put_objects",
    "insert_objects",
    "upsert_object_refs",
    "insert_snapshots",
    "insert_commits",
    "summarize",
]


# Imports everything twice: what libraries ask for, they ask the first time. The second time, every
# variable that is asked for is written down, be it by its name or with all the others.
SPY = """
import os, sys
class Spy(type(os.environ)):
    def __getitem__(self, name):
        seen.add(name)
        return super().__getitem__(name)
import musehub_pipeline
print("dagster" in sys.modules, "psycopg" in sys.modules)
import musehub_pipeline.definitions
print("dagster" in sys.modules)
for name in [name for name in sys.modules if name.startswith("musehub_pipeline")]:
    del sys.modules[name]
seen = set()
os.environ.__class__ = Spy
import musehub_pipeline.definitions
print(sorted(name for name in seen if name.startswith(("MUSEHUB_", "AWS_", "DAGSTER_"))))
"""


def bare_environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def test_dagster_accepts_the_project_as_it_is(tmp_path: Path) -> None:
    validate = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate"]

    done = subprocess.run(
        validate,
        cwd=PROJECT,
        env=bare_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "musehub_pipeline" in done.stderr + done.stdout


def test_importing_reads_what_definitions_are_made_of_and_makes_no_file(tmp_path: Path) -> None:
    variables = {
        "MUSEHUB_HOME": str(tmp_path / "home"),
        "MUSEHUB_BATCH_JOBS": "none",
        "MUSEHUB_DATABASE_URL": "nonsense",
        "MUSEHUB_STORAGE_URL": "nonsense",
        "AWS_ACCESS_KEY_ID": "key",
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "PYTHONPATH": str(PROJECT),
    }

    done = subprocess.run(
        [sys.executable, "-c", SPY],
        cwd=tmp_path,
        env=bare_environment(tmp_path) | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    read = [f"MUSEHUB_{x}" for x in ("ASSET_OWNERS", "ASSET_TAGS", "BACKFILL_START", "STORAGE_URL")]
    assert done.stdout.splitlines() == ["False False", "True", str(read)]
    assert list(tmp_path.iterdir()) == []


def test_the_job_is_the_nine_ops_one_after_the_other() -> None:
    job = defs.get_job_def("index_mpacks")

    after = {
        node.name: [definition.node for definition in inputs.values()]
        for node, inputs in job.dependencies.items()
    }
    first, *others = [[], *([before] for before in OPS)][: len(OPS)]
    assert {node.name for node in job.nodes} == set(OPS)
    assert after.pop(OPS[0], []) == first
    assert after == dict(zip(OPS[1:], others, strict=True))


def test_the_checks_of_the_index_stand_in_the_definitions() -> None:
    assert defs.resolve_asset_graph().asset_check_keys == {
        dg.AssetCheckKey(MPACK_INDEX.key, name)
        for name in ("trouble", "refused_pushes", "queue_age", "phase_budgets", "fsck")
    }


def test_all_that_the_ui_shows_says_what_it_is() -> None:
    repository, graph = defs.get_repository_def(), defs.resolve_asset_graph()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    resource = (defs.resources or {})["musehub"]

    said = {
        "jobs": {job.name: job.description for job in jobs},
        **{
            job.name: {op.name: op.description for op in job.graph.iterate_op_defs()}
            for job in jobs
        },
        "sensors": {sensor.name: sensor.description for sensor in repository.sensor_defs},
        "schedules": {each.name: each.description for each in repository.schedule_defs},
        "assets": {key: graph.get(key).description for key in graph.get_all_asset_keys()},
        "checks": {key: graph.get_check_spec(key).description for key in graph.asset_check_keys},
        "resources": {
            "musehub": resource.get_resource_definition().description,
            "in a process": fixed_resource(Settings()).description,
        },
    }

    assert {kind: len(things) for kind, things in said.items()} == {
        "jobs": 3,
        "index_mpacks": 9,
        "backfill_mpacks": 11,
        "prune_history": 1,
        "sensors": 1,
        "schedules": 1,
        "assets": 7,
        "checks": 5,
        "resources": 2,
    }
    assert [
        (kind, name) for kind, things in said.items() for name, text in things.items() if not text
    ] == []


def test_it_runs_in_one_process_and_hands_on_in_memory() -> None:
    job = defs.get_job_def("index_mpacks")

    assert job.executor_def is dg.in_process_executor
    assert job.resource_defs["io_manager"] is dg.mem_io_manager


def test_the_resource_has_the_fields_of_an_s3_resource_and_two_urls() -> None:
    own, theirs = MusehubResource.model_fields, S3Resource.model_fields

    assert own.keys() - theirs.keys() == {"database_url", "storage_url"}
    assert [name for name, field in own.items() if field.default is not None] == []
    assert {name: getattr(S3Options(), name) for name in theirs} == {
        name: field.default for name, field in theirs.items()
    }


def test_the_launchpad_shows_which_jobs_a_run_may_take_and_nothing_else() -> None:
    def shown(name: str) -> str:
        snap = JobSnap.from_job_def(defs.get_repository_def().get_job(name))
        schema = snap.config_schema_snapshot
        root = schema.get_config_snap(str(snap.mode_def_snaps[0].root_config_key))
        return default_values_yaml_from_type_snap(schema, root)

    assert yaml.safe_load(shown("index_mpacks")) == {
        "ops": {"claim_jobs": {"config": {"job_ids": []}}}
    }
    assert yaml.safe_load(shown("backfill_mpacks")) == {}  # tags say it, as for all days at once
    assert yaml.safe_load(shown("prune_history")) == {}


def test_the_ui_shows_these_fields_and_which_jobs_a_run_may_take() -> None:
    job = defs.get_job_def("index_mpacks")

    resource = job.resource_defs["musehub"].config_schema.config_type
    claim = job.get_node_named("claim_jobs").definition.config_schema.config_type

    assert set(resource.fields) == set(MusehubResource.model_fields)
    assert set(claim.fields) == {"job_ids"}
    assert not claim.fields["job_ids"].is_required


def test_the_definitions_are_made_anew_with_another_resource() -> None:
    other = MusehubResource(storage_url="s3://elsewhere")

    job = build_defs(musehub=other).get_job_def("index_mpacks")

    assert job is not defs.get_job_def("index_mpacks")
    schema = job.resource_defs["musehub"].config_schema
    assert schema.default_value["storage_url"] == "s3://elsewhere"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(module: Path) -> Iterator[str]:
    """Yield what a module imports, at any depth of it, by full name."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_module_imports_the_private_parts_of_dagster() -> None:
    """But for what replaces a part of Dagster: its launcher, its storage, its workers."""
    parts = {"celery_worker.py", "fleet.py", "launcher.py", "pods.py", "records.py", "spares.py"}
    private = {
        (module.name, name)
        for module in modules()
        if module.name not in parts
        for name in imports(module)
        if name.startswith(("dagster._", "dagster_aws._"))
    }

    assert private == set()


def test_a_run_is_only_ever_repeated_as_a_whole() -> None:
    job = build_defs().get_job_def("index_mpacks")

    assert job.tags["dagster/retry_strategy"] == "ALL_STEPS"
