"""The settings: every variable that the pipeline reads, validated in one place, at start.

With none set, everything lives in ``./.musehub``: an embedded PostgreSQL and a directory.
"""

import os
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from musehub_pipeline.domain.budgets import BudgetKey, parse_budgets
from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.domain.labels import parse_owners, parse_tags
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.objects.storage_client import (
    S3Options,
    parse_endpoint_url,
    parse_storage_url,
)
from musehub_pipeline.postgres.server import database_url

_LIMITS = Limits()
_BACKFILL_START = date(2025, 1, 1)

T = TypeVar("T")


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator that refuses what cannot be parsed, and changes nothing else."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


Seconds = Annotated[float, Field(le=10**7, allow_inf_nan=False)]  # four months at the most
DatabaseUrl = Annotated[str, _checked(database_url)]
DagsterDatabaseUrl = Annotated[
    str, _checked(partial(database_url, variable="MUSEHUB_DAGSTER_DATABASE_URL"))
]
StorageUrl = Annotated[str, _checked(parse_storage_url)]
PhaseBudgets = Annotated[str, _checked(parse_budgets)]
AssetOwners = Annotated[str, _checked(parse_owners)]
AssetTags = Annotated[str, _checked(parse_tags)]


class Settings(BaseSettings):
    """What a run needs to know about its surroundings."""

    model_config = SettingsConfigDict(
        env_prefix="MUSEHUB_", env_ignore_empty=True, frozen=True, populate_by_name=True
    )

    home: Path = Field(Path(".musehub"), description="Where the embedded services live")
    database_url: DatabaseUrl | None = Field(
        None, repr=False, description="PostgreSQL; unset: an embedded one in the home"
    )
    dagster_database_url: DagsterDatabaseUrl | None = Field(
        None, repr=False, description="Dagster's own database; unset: one beside the other"
    )
    storage_url: StorageUrl | None = Field(
        None, description="s3://bucket/prefix or file:///dir; unset: a directory in the home"
    )
    scratch_dir: Path | None = Field(None, description="Where mpacks lie during a run")
    ui_url: str = Field(
        "http://127.0.0.1:3000",
        pattern=r"^https?://\S+$",
        description="Where people find Dagster's UI, for links to it",
    )

    batch_jobs: int = Field(500, ge=1, description="Jobs that one run takes at the most")
    batch_bytes: int = Field(
        1 << 30, ge=1, description="Bytes of mpacks that one run takes, but for a first larger one"
    )
    max_attempts: int = Field(30, ge=1, description="Claims after which a job fails for good")
    max_kills: int = Field(
        3, ge=1, description="Runs that may die over a job alone before it fails"
    )
    max_concurrent_runs: int = Field(4, ge=1, description="Runs that the sensor has in flight")
    spare_runs: int = Field(
        1,
        ge=0,
        le=64,
        description="Processes that wait for a run with Dagster loaded; 0: as Dagster does it",
    )
    keep_runs_days: int = Field(30, ge=0, description="Days that Dagster keeps ended runs; 0: ever")
    keep_done_days: int = Field(0, ge=0, description="Days that rows of done jobs stay; 0: ever")
    backfill_start: date = Field(
        _BACKFILL_START, description="The first day of pushes that can be indexed again"
    )
    lease_seconds: Seconds = Field(
        60,
        ge=1,
        description="Seconds without a heartbeat until a run is taken for dead",
    )
    retry_base_seconds: Seconds = Field(2, gt=0, description="Backoff after the first failure")
    retry_cap_seconds: Seconds = Field(600, gt=0, description="Longest backoff")
    read_again_seconds: Seconds = Field(
        60, ge=0, description="Seconds over which a missing or wrong mpack is read again"
    )
    queue_age_seconds: Seconds = Field(
        300, gt=0, description="Seconds that a job may wait before it is pointed out"
    )
    storage_threads: int = Field(16, ge=1, le=256, description="Requests to storage at a time")
    id_policy: Literal["verify", "record"] = Field(
        "verify", description="What to do with a commit or snapshot id of an unknown scheme"
    )
    phase_budgets_ms: PhaseBudgets = Field(
        "", description="How long a phase may take before it is pointed out: key=ms,key=ms"
    )
    asset_owners: AssetOwners = Field(
        "", description="Who owns the assets in Dagster: address@host,team:name"
    )
    asset_tags: AssetTags = Field(
        "", description="Tags of the assets in Dagster: key=value,key=value"
    )

    max_mpack_bytes: int = Field(_LIMITS.mpack_bytes, ge=1, description="Largest mpack")
    max_objects: int = Field(
        _LIMITS.objects,
        ge=1,
        description="Most objects that an mpack holds, or names; rows after which a batch is full",
    )
    max_snapshots: int = Field(_LIMITS.snapshots, ge=1, description="Most snapshots of an mpack")
    max_commits: int = Field(_LIMITS.commits, ge=1, description="Most commits of an mpack")
    max_commit_bytes: int = Field(
        _LIMITS.commit_bytes,
        ge=1,
        le=1 << 27,  # with the most values of a commit, all that jsonb can hold
        description="Largest commit, as it is packed, and as JSON",
    )
    max_snapshot_bytes: int = Field(
        _LIMITS.snapshot_bytes, ge=1, le=1 << 27, description="Largest snapshot"
    )
    max_text_bytes: int = Field(
        _LIMITS.text_bytes,
        ge=1 << 16,  # what the reader reads at a time
        le=1 << 27,
        description="Longest text or binary inside of a commit or snapshot",
    )
    max_path_characters: int = Field(
        _LIMITS.path_characters, ge=1, description="Longest path of a manifest"
    )

    endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        description="S3 endpoint, for MinIO, Ceph or R2",
    )
    region_name: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="S3 region",
    )
    profile_name: str | None = Field(
        None,
        validation_alias="AWS_PROFILE",
        description="Profile of the AWS configuration files",
    )
    aws_access_key_id: str | None = Field(
        None, validation_alias="AWS_ACCESS_KEY_ID", repr=False, description="S3 key id"
    )
    aws_secret_access_key: str | None = Field(
        None, validation_alias="AWS_SECRET_ACCESS_KEY", repr=False, description="S3 secret"
    )
    aws_session_token: str | None = Field(
        None, validation_alias="AWS_SESSION_TOKEN", repr=False, description="S3 session token"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _without_login(cls, value: str | None) -> str | None:
        return None if value is None else parse_endpoint_url(value)

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the environment; `overrides` win over it.

        Raises:
            SettingsError: a value is not valid; the message names its variable.
        """
        try:
            return cls(**(overrides or {}))
        except ValidationError as error:
            problems = (
                f"{_variable(str(problem['loc'][0]))}: {problem['msg']},"
                f" not {problem['input']!r:.80}"
                for problem in error.errors()
            )
            raise SettingsError("; ".join(problems)) from error

    @property
    def limits(self) -> Limits:
        """How much one mpack may hold."""
        return Limits(
            mpack_bytes=self.max_mpack_bytes,
            objects=self.max_objects,
            snapshots=self.max_snapshots,
            commits=self.max_commits,
            commit_bytes=self.max_commit_bytes,
            snapshot_bytes=self.max_snapshot_bytes,
            text_bytes=self.max_text_bytes,
            path_characters=self.max_path_characters,
        )

    @property
    def phase_budgets(self) -> dict[BudgetKey, float]:
        """How many milliseconds each timing of a result may have."""
        return parse_budgets(self.phase_budgets_ms)

    @property
    def lease(self) -> timedelta:
        """How long a claim holds without a heartbeat."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def keep_runs(self) -> timedelta:
        """How long Dagster keeps ended runs; zero: for ever."""
        return timedelta(days=self.keep_runs_days)

    @property
    def keep_done(self) -> timedelta:
        """How long rows of done jobs stay; zero: for ever."""
        return timedelta(days=self.keep_done_days)

    @property
    def scratch_root(self) -> Path:
        """Where runs make their scratch folders."""
        return (self.scratch_dir or self.home / "scratch").expanduser().resolve()

    @property
    def s3(self) -> S3Options:
        """How to reach S3."""
        return S3Options(
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            profile_name=self.profile_name,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
        )


def first_day() -> date:
    """Return `Settings.backfill_start`: the days of a job's partitions are part of its definition.

    Raises:
        SettingsError: it is no day.
    """
    return _by_itself("backfill_start", date.fromisoformat) or _BACKFILL_START


def asset_owners() -> list[str]:
    """Return who owns the assets.

    Raises:
        SettingsError: an owner is none.
    """
    return _by_itself("asset_owners", parse_owners) or []


def asset_tags() -> dict[str, str]:
    """Return the tags of the assets, beside their own.

    Raises:
        SettingsError: a tag is none.
    """
    return _by_itself("asset_tags", parse_tags) or {}


def storage_url() -> str | None:
    """Return `Settings.storage_url` as it is given, be it valid or not."""
    return _by_itself("storage_url", str)


def _by_itself(field: str, parse: Callable[[str], T]) -> T | None:
    """Return what is read of one variable, and read no other; None where it is not set.

    That is for what is part of the definitions. All else waits until a run needs it, so that what
    is wrong with it is said there, and Dagster can load the code all the same.
    """
    name = _variable(field)
    text = os.environ.get(name)
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise SettingsError(f"{name}: {error}, not {text!r:.80}") from error


def _variable(name: str) -> str:
    return name if name.startswith("AWS_") else f"MUSEHUB_{name.upper()}"
