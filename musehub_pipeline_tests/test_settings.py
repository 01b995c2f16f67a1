"""The settings: one place, one name each, and every mistake called by the variable's name."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.objects.storage_client import S3Options
from musehub_pipeline.settings import (
    Settings,
    asset_owners,
    asset_tags,
    first_day,
    storage_url,
)

READ = {
    "home": ("MUSEHUB_HOME", "/srv/hub", Path("/srv/hub")),
    "database_url": ("MUSEHUB_DATABASE_URL", "postgres://ada@db/hub", "postgres://ada@db/hub"),
    "dagster_database_url": ("MUSEHUB_DAGSTER_DATABASE_URL", "postgres://db/d", "postgres://db/d"),
    "storage_url": ("MUSEHUB_STORAGE_URL", "s3://bucket/prefix", "s3://bucket/prefix"),
    "scratch_dir": ("MUSEHUB_SCRATCH_DIR", "/scratch", Path("/scratch")),
    "ui_url": ("MUSEHUB_UI_URL", "https://ui.example.org/d", "https://ui.example.org/d"),
    "batch_jobs": ("MUSEHUB_BATCH_JOBS", "1", 1),
    "batch_bytes": ("MUSEHUB_BATCH_BYTES", "7", 7),
    "max_attempts": ("MUSEHUB_MAX_ATTEMPTS", "1", 1),
    "max_kills": ("MUSEHUB_MAX_KILLS", "1", 1),
    "max_concurrent_runs": ("MUSEHUB_MAX_CONCURRENT_RUNS", "1", 1),
    "spare_runs": ("MUSEHUB_SPARE_RUNS", "0", 0),
    "keep_runs_days": ("MUSEHUB_KEEP_RUNS_DAYS", "0", 0),
    "keep_done_days": ("MUSEHUB_KEEP_DONE_DAYS", "7", 7),
    "backfill_start": ("MUSEHUB_BACKFILL_START", "2024-02-29", date(2024, 2, 29)),
    "lease_seconds": ("MUSEHUB_LEASE_SECONDS", "1.5", 1.5),
    "retry_base_seconds": ("MUSEHUB_RETRY_BASE_SECONDS", "0.1", 0.1),
    "retry_cap_seconds": ("MUSEHUB_RETRY_CAP_SECONDS", "60", 60),
    "read_again_seconds": ("MUSEHUB_READ_AGAIN_SECONDS", "90", 90),
    "queue_age_seconds": ("MUSEHUB_QUEUE_AGE_SECONDS", "60", 60),
    "storage_threads": ("MUSEHUB_STORAGE_THREADS", "256", 256),
    "id_policy": ("MUSEHUB_ID_POLICY", "record", "record"),
    "phase_budgets_ms": ("MUSEHUB_PHASE_BUDGETS_MS", "unpack_ms=1.5", "unpack_ms=1.5"),
    "asset_owners": ("MUSEHUB_ASSET_OWNERS", "ada@example.org", "ada@example.org"),
    "asset_tags": ("MUSEHUB_ASSET_TAGS", "env=test", "env=test"),
    "max_mpack_bytes": ("MUSEHUB_MAX_MPACK_BYTES", "9", 9),
    "max_objects": ("MUSEHUB_MAX_OBJECTS", "9", 9),
    "max_snapshots": ("MUSEHUB_MAX_SNAPSHOTS", "9", 9),
    "max_commits": ("MUSEHUB_MAX_COMMITS", "9", 9),
    "max_commit_bytes": ("MUSEHUB_MAX_COMMIT_BYTES", "9", 9),
    "max_snapshot_bytes": ("MUSEHUB_MAX_SNAPSHOT_BYTES", "9", 9),
    "max_text_bytes": ("MUSEHUB_MAX_TEXT_BYTES", "65536", 65_536),
    "max_path_characters": ("MUSEHUB_MAX_PATH_CHARACTERS", "9", 9),
    "endpoint_url": ("AWS_ENDPOINT_URL", "https://s3.example.org", "https://s3.example.org"),
    "region_name": ("AWS_REGION", "eu-central-1", "eu-central-1"),
    "profile_name": ("AWS_PROFILE", "hub", "hub"),
    "aws_access_key_id": ("AWS_ACCESS_KEY_ID", "key", "key"),
    "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY", "secret", "secret"),
    "aws_session_token": ("AWS_SESSION_TOKEN", "token", "token"),
}
"""The variable of each setting, a text for it that is not its default, and what that is read as."""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSEHUB_READ_AGAIN_SECONDS")


def test_with_nothing_set_everything_lives_in_the_home() -> None:
    settings = Settings.load()

    assert settings.model_dump() == {
        "home": Path(".musehub"),
        "database_url": None,
        "dagster_database_url": None,
        "storage_url": None,
        "scratch_dir": None,
        "ui_url": "http://127.0.0.1:3000",
        "batch_jobs": 500,
        "batch_bytes": 1 << 30,
        "max_attempts": 30,
        "max_kills": 3,
        "max_concurrent_runs": 4,
        "spare_runs": 1,
        "keep_runs_days": 30,
        "keep_done_days": 0,
        "backfill_start": date(2025, 1, 1),
        "lease_seconds": 60,
        "retry_base_seconds": 2,
        "retry_cap_seconds": 600,
        "read_again_seconds": 60,
        "queue_age_seconds": 300,
        "storage_threads": 16,
        "id_policy": "verify",
        "phase_budgets_ms": "",
        "asset_owners": "",
        "asset_tags": "",
        "max_mpack_bytes": 16 << 30,
        "max_objects": 2_000_000,
        "max_snapshots": 500_000,
        "max_commits": 500_000,
        "max_commit_bytes": 64 << 20,
        "max_snapshot_bytes": 64 << 20,
        "max_text_bytes": 8 << 20,
        "max_path_characters": 4_096,
        "endpoint_url": None,
        "region_name": None,
        "profile_name": None,
        "aws_access_key_id": None,
        "aws_secret_access_key": None,
        "aws_session_token": None,
    }
    assert settings.limits == Limits()
    assert settings.lease == timedelta(minutes=1)
    assert (settings.keep_runs, settings.keep_done) == (timedelta(days=30), timedelta(0))
    assert settings.scratch_root == Path(".musehub/scratch").resolve()
    assert settings.s3 == S3Options()


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    variable, text, value = READ[field]
    defaults = Settings.load().model_dump()
    monkeypatch.setenv(variable, text)

    assert Settings.load().model_dump() == defaults | {field: value}


def test_what_is_read_is_reckoned_with_in_fitting_types() -> None:
    settings = Settings.load(
        {
            "lease_seconds": 1.5,
            "keep_runs_days": 8,
            "keep_done_days": 9,
            "phase_budgets_ms": "object_puts_ms=5000, elapsed_ms=8e3",
            "max_commits": 1,
            "max_objects": 2,
            "max_snapshots": 3,
            "max_mpack_bytes": 5,
            "max_commit_bytes": 6,
            "max_snapshot_bytes": 7,
            "max_text_bytes": 1 << 16,
            "max_path_characters": 8,
        }
    )

    assert settings.lease == timedelta(seconds=1.5)
    assert (settings.keep_runs, settings.keep_done) == (timedelta(days=8), timedelta(days=9))
    assert settings.phase_budgets == {"object_puts_ms": 5000.0, "elapsed_ms": 8000.0}
    assert settings.limits == Limits(
        mpack_bytes=5,
        objects=2,
        snapshots=3,
        commits=1,
        commit_bytes=6,
        snapshot_bytes=7,
        text_bytes=1 << 16,
        path_characters=8,
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MUSEHUB_DATABASE_URL", "mysql://host/hub"),
        ("MUSEHUB_DATABASE_URL", "no url"),
        ("MUSEHUB_DATABASE_URL", "postgresql://host:port/hub"),
        ("MUSEHUB_STORAGE_URL", "/var/lib/hub"),
        ("MUSEHUB_STORAGE_URL", "gs://bucket"),
        ("MUSEHUB_STORAGE_URL", "file:relative"),
        ("MUSEHUB_UI_URL", "dagster.example.org"),
        ("MUSEHUB_UI_URL", "javascript:alert(1)"),
        ("MUSEHUB_BATCH_JOBS", "0"),
        ("MUSEHUB_BATCH_JOBS", "many"),
        ("MUSEHUB_BATCH_JOBS", "1.5"),
        ("MUSEHUB_BATCH_BYTES", "1GB"),
        ("MUSEHUB_MAX_ATTEMPTS", "-1"),
        ("MUSEHUB_LEASE_SECONDS", "0.5"),
        ("MUSEHUB_LEASE_SECONDS", "nan"),
        ("MUSEHUB_LEASE_SECONDS", "inf"),
        ("MUSEHUB_LEASE_SECONDS", "1e300"),
        ("MUSEHUB_RETRY_BASE_SECONDS", "0"),
        ("MUSEHUB_RETRY_BASE_SECONDS", "nan"),
        ("MUSEHUB_RETRY_BASE_SECONDS", "inf"),
        ("MUSEHUB_RETRY_CAP_SECONDS", "-5"),
        ("MUSEHUB_RETRY_CAP_SECONDS", "inf"),
        ("MUSEHUB_STORAGE_THREADS", "0"),
        ("MUSEHUB_STORAGE_THREADS", "257"),
        ("MUSEHUB_ID_POLICY", "Verify"),
        ("MUSEHUB_ID_POLICY", "ignore"),
        ("MUSEHUB_PHASE_BUDGETS_MS", "unpack=5"),
        ("MUSEHUB_PHASE_BUDGETS_MS", "unpack_ms"),
        ("MUSEHUB_ASSET_OWNERS", "ada"),
        ("MUSEHUB_ASSET_TAGS", "env"),
        ("MUSEHUB_MAX_MPACK_BYTES", "0"),
        ("MUSEHUB_MAX_OBJECTS", "0"),
        ("MUSEHUB_MAX_SNAPSHOTS", "x"),
        ("MUSEHUB_MAX_COMMITS", "1_"),
        ("MUSEHUB_MAX_COMMIT_BYTES", "134217729"),
        ("MUSEHUB_MAX_SNAPSHOT_BYTES", "134217729"),
        ("MUSEHUB_MAX_TEXT_BYTES", "65535"),
        ("MUSEHUB_MAX_PATH_CHARACTERS", "0"),
    ],
)
def test_a_value_that_is_not_valid_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert "\n" not in message


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "0")
    monkeypatch.setenv("MUSEHUB_MAX_OBJECTS", "-1")

    with pytest.raises(SettingsError, match=r"^MUSEHUB_BATCH_JOBS: .*; MUSEHUB_MAX_OBJECTS: "):
        Settings.load()


@pytest.mark.parametrize(
    ("budgets", "key", "value"),
    [
        ("object_puts_ms=5000,object_put_ms=17", "object_put_ms", "17"),
        ("claim_jobs_ms=17", "claim_jobs_ms", "17"),
        ("unpack_ms=soon", "unpack_ms", "soon"),
        ("unpack_ms=", "unpack_ms", ""),
        ("unpack_ms=0", "unpack_ms", "0"),
        ("unpack_ms=-3", "unpack_ms", "-3"),
        ("unpack_ms=nan", "unpack_ms", "nan"),
        ("unpack_ms=inf", "unpack_ms", "inf"),
        ("unpack_ms=5;elapsed_ms=6", "unpack_ms", "5;elapsed_ms=6"),
        ("unpack_ms=5,unpack_ms=6", "unpack_ms", "6"),
    ],
)
def test_a_budget_that_is_not_valid_is_called_by_variable_key_and_value(
    monkeypatch: pytest.MonkeyPatch, budgets: str, key: str, value: str
) -> None:
    monkeypatch.setenv("MUSEHUB_PHASE_BUDGETS_MS", budgets)

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    message, _, given = str(caught.value).rpartition(", not ")
    assert message.startswith("MUSEHUB_PHASE_BUDGETS_MS: ")
    assert repr(key) in message
    assert repr(value) in message
    assert given == repr(budgets)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUSEHUB_DATABASE_URL", "MUSEHUB_BATCH_JOBS", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.setenv(name, "")

    assert Settings.load() == Settings()


def test_the_usual_aws_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "https://s3.example.org",
        "AWS_REGION": "eu-central-1",
        "AWS_PROFILE": "hub",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
    }.items():
        monkeypatch.setenv(name, value)

    assert Settings.load().s3 == S3Options(
        endpoint_url="https://s3.example.org",
        region_name="eu-central-1",
        profile_name="hub",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        aws_session_token="token",
    )


@pytest.mark.parametrize(
    ("special", "general", "name"),
    [
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "endpoint_url"),
        ("AWS_REGION", "AWS_DEFAULT_REGION", "region_name"),
    ],
)
def test_the_more_special_aws_variable_wins(
    monkeypatch: pytest.MonkeyPatch, special: str, general: str, name: str
) -> None:
    monkeypatch.setenv(general, "https://general")
    assert getattr(Settings.load(), name) == "https://general"

    monkeypatch.setenv(special, "https://special")
    assert getattr(Settings.load(), name) == "https://special"


@pytest.mark.parametrize("name", [*Settings.model_fields])
def test_a_variable_without_a_prefix_is_somebody_elses(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if not name.startswith("aws_"):
        monkeypatch.setenv(name.upper(), "1")

    assert getattr(Settings.load(), name) == Settings.model_fields[name].default


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "7")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    settings = Settings.load({"batch_jobs": 1, "region_name": "us-east-1"})

    assert (settings.batch_jobs, settings.region_name) == (1, "us-east-1")


def test_what_is_given_in_error_is_named_too() -> None:
    with pytest.raises(SettingsError, match=r"^MUSEHUB_BATCH_JOBS: "):
        Settings.load({"batch_jobs": "many"})
    with pytest.raises(SettingsError, match="NONSENSE"):
        Settings.load({"nonsense": 1})


def test_the_first_day_of_backfills_is_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "none")
    assert first_day() == date(2025, 1, 1)
    monkeypatch.setenv("MUSEHUB_BACKFILL_START", "2024-02-29")
    assert first_day() == date(2024, 2, 29)
    monkeypatch.setenv("MUSEHUB_BACKFILL_START", "2025-02-29")
    with pytest.raises(SettingsError, match=r"^MUSEHUB_BACKFILL_START: .*, not '2025-02-29'$"):
        first_day()
    with pytest.raises(SettingsError, match=r"MUSEHUB_BACKFILL_START: .*, not '2025-02-29'"):
        Settings.load()


def test_what_is_shown_of_the_assets_is_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "none")
    assert (asset_owners(), asset_tags(), storage_url()) == ([], {}, None)
    monkeypatch.setenv("MUSEHUB_ASSET_OWNERS", "ada@example.org, team:hub")
    monkeypatch.setenv("MUSEHUB_ASSET_TAGS", "env=test, tier=")
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", "nonsense")
    assert asset_owners() == ["ada@example.org", "team:hub"]
    assert asset_tags() == {"env": "test", "tier": ""}
    assert storage_url() == "nonsense"


@pytest.mark.parametrize(
    ("variable", "text", "named", "read"),
    [
        ("MUSEHUB_ASSET_OWNERS", "team:hub,ada", "ada", asset_owners),
        ("MUSEHUB_ASSET_TAGS", "env=test,tier", "tier", asset_tags),
    ],
)
def test_a_label_that_is_not_valid_is_called_by_variable_and_value(
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    text: str,
    named: str,
    read: Callable[[], object],
) -> None:
    monkeypatch.setenv(variable, text)

    for ask in (read, Settings.load):
        with pytest.raises(SettingsError) as caught:
            ask()
        message, _, given = str(caught.value).rpartition(", not ")
        assert message.startswith(f"{variable}: ")
        assert repr(named) in message
        assert given == repr(text)
