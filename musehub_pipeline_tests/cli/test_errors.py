"""Help that explains, and errors that name their cause: never a traceback, never a secret."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

from musehub_pipeline.cli.main import app
from musehub_pipeline_tests.cli.terminal import call, run
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub


def commands(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield names, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_these_are_all_the_commands() -> None:
    groups = {"", "jobs", "backfill", "db", "deploy"}

    assert {" ".join(names) for names in COMMANDS} - groups == {
        "demo",
        "dev",
        "pack",
        "push",
        "index",
        "fsck",
        "status",
        "stats",
        "metrics",
        "doctor",
        "jobs list",
        "jobs show",
        "jobs retry",
        "jobs cancel",
        "jobs pause",
        "jobs resume",
        "backfill plan",
        "backfill run",
        "backfill status",
        "backfill discover",
        "db upgrade",
        "db current",
        "db query",
        "deploy init",
    }


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_explains_the_command_and_every_option(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", "help needs no valid setting")
    command = COMMANDS[names]

    finished = call(*names, "--help")

    assert (finished.code, finished.err) == (0, "")
    said = " ".join(finished.out.split())
    summary = command.help.split("\n\n")[0].replace("`", "")  # Markdown, as all of it
    assert " ".join(summary.split()) in said
    for parameter in command.params:
        shown = [parameter.metavar] if parameter.metavar and parameter.nargs else parameter.opts
        assert all(name.lower() in said.lower() for name in shown)
        assert parameter.help
        assert " ".join(parameter.help.split()) in said


def test_help_tells_the_exit_codes_and_where_settings_come_from() -> None:
    said = " ".join(call("--help").out.split())

    assert "Exit codes: 0 done; 1 an error" in said
    assert "2 wrong usage; 3 the command ran, but something that it was asked for did not" in said
    assert "130 or 143 stopped by a signal" in said
    assert "MUSEHUB_* variables; with none set, everything lives in ./.musehub" in said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["status", "--watch", "--interval", "0"],
        ["jobs"],
        ["jobs", "retry"],
        ["jobs", "retry", "job", "--all"],
        ["jobs", "retry", "--all", "--repo", "ada/song"],
        ["jobs", "retry", "--code", "NONE"],
        ["jobs", "cancel"],
        ["jobs", "cancel", "job", "--repo", "ada/song"],
        ["jobs", "cancel", "--repo", ""],
        ["jobs", "list", "--code", "NONE"],
        ["jobs", "list", "--older-than", "soon"],
        ["jobs", "list", "--newer-than", "-1h"],
        ["jobs", "list", "--limit", "9" * 30],
        # What a script leaves of a variable that is not set is not: all repositories.
        ["jobs", "list", "--repo", ""],
        ["jobs", "retry", "--repo", ""],
        ["fsck", "--repo", ""],
        ["backfill", "run", "--repo", ""],
        ["backfill", "discover", "--repo", ""],
        ["backfill", "discover", "--limit", "9" * 30],
        ["push", "some.mpack", "--repo", ""],
        ["push", "some.mpack", "--repo", "ada/so\nng"],
        ["push", "some.mpack", "--repo", "ada/\udcff"],
        ["nonsense"],
        ["index", "--nonsense"],
        ["index", "--workers", "0"],
        ["index", "--workers", "2", "job"],
        ["push"],
        ["push", "some.mpack"],
        ["db", "query"],
        ["dev", "--port", "0"],
        ["dev", "--port", "65536"],
        ["dev", "--port", "http"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_says_what_is_right(arguments: list[str]) -> None:
    finished = call(*arguments)

    assert finished.code == 2
    assert "Usage: " in finished.out + finished.err
    assert "Traceback" not in finished.err


def test_an_argument_that_is_not_utf_8_is_an_error(hub: Hub) -> None:
    finished = call("jobs", "show", "a\udcff")

    assert (finished.code, finished.out, finished.err) == (1, "", "error: not UTF-8: 'a\\udcff'\n")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MUSEHUB_BATCH_JOBS", "many"),
        ("MUSEHUB_BATCH_JOBS", "0"),
        ("MUSEHUB_LEASE_SECONDS", "-1"),
        ("MUSEHUB_ID_POLICY", "trust"),
        ("MUSEHUB_STORAGE_URL", "http://storage"),
        ("MUSEHUB_STORAGE_URL", "file://relative/folder"),
        ("MUSEHUB_DATABASE_URL", "mysql://ada:hunter2@localhost/hub"),
        ("MUSEHUB_DATABASE_URL", "postgresql://ada:hunter2@localhost:port/hub"),
        ("MUSEHUB_DATABASE_URL", "ada:hunter2@localhost"),
        ("MUSEHUB_DATABASE_URL", "postgresql://ada:hunter2@localhost/hub?ssl=require"),
        ("MUSEHUB_DAGSTER_DATABASE_URL", "postgresql://ada:hunter2@localhost/dagster?ssl=true"),
    ],
)
def test_a_setting_that_is_not_valid_is_named_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", "postgresql:///none?host=/no/such/folder")
    monkeypatch.setenv(variable, value)

    finished = call("index", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith(f"error: {variable}: ")
    assert "hunter2" not in finished.err


@pytest.mark.parametrize("command", [["index"], ["jobs", "list"], ["db", "current"]], ids=" ".join)
def test_a_database_that_is_down_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "home"))
    url = f"postgresql://ada:hunter2@/hub?host={tmp_path}"
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", url)

    finished = call(*command, "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("error: DATABASE_UNAVAILABLE: ")
    assert str(tmp_path) in finished.err
    assert "hunter2" not in finished.err


def test_a_database_without_tables_asks_for_the_upgrade(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", empty_database_url)

    finished = call("index", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("error: ")
    assert "run `musehub-pipeline db upgrade`" in finished.err


def test_what_the_database_refuses_is_an_error_of_one_line(hub: Hub) -> None:
    hub.sql("ALTER TABLE musehub_background_jobs RENAME COLUMN not_before TO later")

    finished = call("status")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err == 'error: the database refused: column "not_before" does not exist\n'


def test_scratch_that_cannot_be_made_is_named_and_the_job_is_not_spent(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job_id = hub.push(hub.create_repo(), History().mpack())
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSEHUB_SCRATCH_DIR", str(tmp_path / "file" / "scratch"))

    finished = call("index", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert "error: SCRATCH_UNAVAILABLE: " in finished.err
    assert str(tmp_path / "file") in finished.err
    assert (hub.job(job_id)["status"], hub.job(job_id)["attempt"]) == ("pending", 0)


def test_a_home_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "file" / "home"))

    finished = call("jobs", "list")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("error: ")
    assert str(tmp_path / "file" / "home") in finished.err


def test_a_dagster_home_that_is_not_there_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(hub.create_repo(), History().mpack())
    for folder in ("/no/such/folder", "relative"):
        monkeypatch.setenv("DAGSTER_HOME", folder)

        finished = call("index", "--json")

        assert (finished.code, finished.out) == (1, "")
        assert finished.err.startswith("error: ")
        assert "DAGSTER_HOME" in finished.err


def test_an_error_is_one_line_on_stderr_of_a_process_that_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", f"postgresql:///hub?host={tmp_path}")

    finished = run("jobs", "list", "--json")

    assert (finished.code, finished.out) == (1, "")
    [line] = finished.err.splitlines()
    assert line.startswith("error: DATABASE_UNAVAILABLE: ")


def test_the_version_is_told_and_help_by_its_first_letter() -> None:
    assert call("--version").out == f"musehub-pipeline {version('musehub-pipeline')}\n"
    assert call("jobs", "list", "-h").out == call("jobs", "list", "--help").out
