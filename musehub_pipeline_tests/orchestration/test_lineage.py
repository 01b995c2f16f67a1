"""The assets: which there are, what depends on what, and what their pages say."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.metadata.metadata_set import TableMetadataSet

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.index.index import Index
from musehub_pipeline.orchestration import assets
from musehub_pipeline.orchestration.resources import MusehubResource
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.observed import run

ROOT = Path(__file__).parents[2]
PAGE = "docs/lineage.md"
TABLES = ["objects", "object_refs", "snapshots", "commits", "branches"]
CHAIN = ["mpacks", *TABLES, "mpack_index"]
HISTORY = small_history()
*_, LAST = HISTORY.commits
NOT_MSGPACK = b"\xc1"


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["musehub", name])


def shown() -> dict[str, Any]:
    """Return the assets by the last part of their keys."""
    graph = build_defs().resolve_asset_graph()
    return {each.path[-1]: graph.get(each) for each in graph.get_all_asset_keys()}


def test_each_asset_depends_on_what_its_rows_name() -> None:
    found = shown()

    assert {name: asset.parent_keys for name, asset in found.items()} == {
        name: {key(before)} if before else set()
        for before, name in zip([None, *CHAIN], CHAIN, strict=False)
    }
    assert {asset.group_name for asset in found.values()} == {"musehub"}
    assert not any(asset.is_materializable for asset in found.values())  # a job makes them


@pytest.mark.parametrize(
    ("url", "kind"), [(None, "file"), ("file:///srv/hub", "file"), ("s3://bucket/hub", "s3")]
)
def test_kinds_are_those_of_the_storage_in_use(
    monkeypatch: pytest.MonkeyPatch, url: str | None, kind: str
) -> None:
    if url:
        monkeypatch.setenv("MUSEHUB_STORAGE_URL", url)

    assert {name: asset.kinds for name, asset in shown().items()} == {
        "mpacks": {kind},
        **{table: {"postgres"} for table in TABLES},
        "objects": {kind, "postgres"},
        "mpack_index": {kind, "postgres"},
    }


def test_a_resource_that_is_given_says_what_storage_is_in_use() -> None:
    defs = build_defs(musehub=MusehubResource(storage_url="s3://elsewhere"))

    assert defs.resolve_asset_graph().get(key("mpacks")).kinds == {"s3"}


def test_nobody_owns_them_unless_it_is_said() -> None:
    own = {"musehub/job_type": "mpack.index"}

    for asset in shown().values():
        assert asset.owners == []
        assert {k: v for k, v in asset.tags.items() if "/kind/" not in k} == own


def test_owners_and_tags_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_ASSET_OWNERS", "team:hub, ada@example.org")
    monkeypatch.setenv("MUSEHUB_ASSET_TAGS", "env=test, acme.org/tier=1")
    tags = {"musehub/job_type": "mpack.index", "env": "test", "acme.org/tier": "1"}

    for asset in shown().values():
        assert asset.owners == ["team:hub", "ada@example.org"]
        assert {k: v for k, v in asset.tags.items() if "/kind/" not in k} == tags


@pytest.mark.parametrize(
    ("variable", "text"),
    [("MUSEHUB_ASSET_OWNERS", "ada"), ("MUSEHUB_ASSET_TAGS", "dagster/kind=x")],
)
def test_what_is_not_valid_is_told_when_definitions_are_made(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(SettingsError, match=f"^{variable}: .*, not {text!r}$"):
        build_defs()


def test_columns_are_those_of_the_database(hub: Hub) -> None:
    for name, asset in shown().items():
        about = TableMetadataSet.extract(asset.metadata)
        if name not in TABLES:
            assert about == TableMetadataSet()
            continue
        table = f"musehub_{name}"
        assert (about.table_name, about.storage_kind) == (table, "postgres")
        assert about.column_schema is not None
        columns = [
            (
                column.name,
                column.type,
                column.constraints.nullable,
                "primary key" in column.constraints.other,
            )
            for column in about.column_schema.columns
        ]
        assert columns == [tuple(row.values()) for row in hub.sql(COLUMNS, {"table": table})]


COLUMNS = """
SELECT column_name, data_type, is_nullable = 'YES', EXISTS (
    SELECT FROM pg_index
    WHERE indrelid = table_name::regclass AND indisprimary AND ordinal_position = ANY(indkey)
)
FROM information_schema.columns WHERE table_name = %(table)s ORDER BY ordinal_position
"""


def test_what_only_one_column_identifies_is_unique() -> None:
    unique = [
        (name, column.name)
        for name, asset in shown().items()
        if (columns := TableMetadataSet.extract(asset.metadata).column_schema)
        for column in columns.columns
        if column.constraints.unique
    ]

    assert unique == [("objects", "object_id")]


def test_each_names_its_part_of_a_page() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / PAGE).read_text(), re.MULTILINE)

    assert headings == CHAIN
    assert {name: asset.metadata["docs"].value for name, asset in shown().items()} == {
        name: f"{PAGE}#{name}" for name in CHAIN
    }


def test_a_run_says_of_each_table_what_it_wrote(hub: Hub, instance: dg.DagsterInstance) -> None:
    for slug in "ab":
        hub.push(hub.create_repo(slug), HISTORY.mpack(), head=LAST)
    hub.push(hub.create_repo("bad"), NOT_MSGPACK)

    run_id = run(hub, instance)

    assert latest(instance, run_id) == {
        "objects": {"objects_inserted": 14},
        "object_refs": {"object_refs_inserted": 2 * 14},
        "snapshots": {"snapshots_inserted": 2 * 4},
        "commits": {"commits_inserted": 2 * 4},
        "branches": {"heads_moved": 2},
    }


def test_how_many_rows_there_are_is_what_the_catalogue_knows(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    hub.push(hub.create_repo(), HISTORY.mpack(), head=LAST)
    run(hub, instance)
    for name in TABLES:
        hub.sql(f"ANALYZE musehub_{name}")  # pyright: ignore[reportArgumentType]
    hub.push(hub.create_repo("other"), HISTORY.mpack(), head=LAST)

    run_id = run(hub, instance)

    known = {name: about["dagster/row_count"] for name, about in latest(instance, run_id).items()}
    assert known == {"objects": 14, "object_refs": 14, "snapshots": 4, "commits": 4, "branches": 1}


def test_where_the_database_is_away_nothing_is_said_of_rows() -> None:
    with Database("postgresql://nobody@127.0.0.1:1/none") as database, Index(database) as index:
        assert assets._rows(index) == {}


def test_a_run_adds_as_many_events_for_five_jobs_as_for_one_and_none_for_none(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    def made(jobs: int) -> list[str]:
        for n in range(jobs):
            hub.push(hub.create_repo(f"r{jobs}-{n}"), History().mpack())
        return events(instance, run(hub, instance))

    assert made(1) == made(5) == CHAIN[1:]
    assert made(0) == []


def events(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return of which assets a run said that it made them, in this order."""
    logs = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return [entry.get_dagster_event().asset_key.path[-1] for entry in logs]


def latest(instance: dg.DagsterInstance, run_id: str) -> dict[str, dict[str, Any]]:
    """Return what a run said of each table."""
    found = {}
    for name in TABLES:
        event = instance.get_latest_materialization_event(key(name))
        assert event is not None
        assert event.run_id == run_id
        assert event.asset_materialization is not None
        found[name] = {k: v.value for k, v in event.asset_materialization.metadata.items()}
    return found
