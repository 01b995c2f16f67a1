"""`doctor`: what is wrong is named, with what to do, and all else is looked at as well."""

from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from musehub_pipeline.postgres.migrate import latest
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.postgres import Postgres

ALL = (
    *("versions", "settings", "database", "tables", "rights", "clock", "storage", "scratch"),
    "Dagster's records",
)


def wrong() -> dict[str, str]:
    """Return what is wrong, and how; all else is fine, and looked at in order."""
    finished = call("doctor", "--json")
    findings = finished.json
    found = {each["what"]: each["found"] for each in findings if not each["ok"]}
    assert finished.code == (3 if found else 0)
    assert [each["what"] for each in findings] == list(ALL)[: len(findings)]
    assert all(each["advice"] for each in findings if not each["ok"])
    return found


def test_where_all_is_there_each_line_says_what_was_found(hub: Hub) -> None:
    finished = call("doctor")

    assert (finished.code, finished.err) == (0, "")
    lines = dict(line.removeprefix("✔ ").split(": ", 1) for line in finished.out.splitlines())
    assert list(lines) == list(ALL)
    assert "dagster 1." in lines["versions"]
    assert lines["database"].startswith("PostgreSQL 1")
    assert lines["tables"] == f"revision {latest()}"
    assert lines["storage"] == f"{hub.settings.storage_url}, no mpack yet"


def test_a_setting_that_is_wrong_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "many")

    assert "MUSEHUB_BATCH_JOBS" in wrong()["settings"]


def test_storage_and_scratch_that_are_not_there_are_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", f"file://{tmp_path}/nowhere")
    monkeypatch.setenv("MUSEHUB_SCRATCH_DIR", str(tmp_path / "file"))

    found = wrong()

    assert set(found) == {"storage", "scratch"}
    assert "nowhere" in found["storage"]
    assert str(tmp_path / "file") in found["scratch"]


def test_a_disk_that_has_no_room_for_a_batch_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_BATCH_BYTES", str(1 << 60))

    assert "bytes free" in wrong()["scratch"]


def test_tables_that_are_old_are_named(hub: Hub) -> None:
    hub.sql("UPDATE musehub_pipeline_version SET version_num = '0004'")

    assert wrong() == {"tables": f"they are at revision 0004, this version needs {latest()}"}


def test_rights_that_are_missing_are_named(
    hub: Hub, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(str(hub.settings.database_url))
    role = f"clerk_{uuid4().hex}"
    names = sql.Identifier(role), sql.Identifier("musehub_commits")
    with psycopg.connect(postgres.url(str(url.database)), autocommit=True) as owner:

        def do(statement: LiteralString) -> None:
            owner.execute(sql.SQL(statement).format(*names))

        do("CREATE ROLE {} LOGIN")
        try:
            do("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {}")
            do("REVOKE INSERT ON {1} FROM {0}")
            clerks = url.set(username=role).render_as_string(hide_password=False)
            monkeypatch.setenv("MUSEHUB_DATABASE_URL", clerks)
            found = wrong()
        finally:
            do("DROP OWNED BY {}")
            do("DROP ROLE {}")

    missing = (
        "INSERT on musehub_commits, DELETE on musehub_pipeline_runs,"
        " DELETE on musehub_pipeline_witnesses"
    )
    assert found["rights"] == f"missing: {missing}"


def test_without_its_database_all_else_is_looked_at(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")

    found = wrong()

    assert found.keys() >= {"database", "tables", "rights", "clock"}
    assert found.keys().isdisjoint({"storage", "scratch"})
    assert "127.0.0.1:1" in found["database"]
