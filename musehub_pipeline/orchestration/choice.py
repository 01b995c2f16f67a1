"""What a run of a backfill takes, as its config says it, or its tags.

The UI's dialog of backfills has room for tags, and for no config.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

import dagster as dg
from pydantic import Field, field_validator

from musehub_pipeline.domain.backfill import Choice, Selection
from musehub_pipeline.domain.commit import parse_timestamp
from musehub_pipeline.domain.errors import Rejection, RepoNotFound, parse_code

LANE_TAG = "musehub/lane"
SELECT_TAG = "musehub/select"
CODES_TAG = "musehub/codes"
REPO_TAG = "musehub/repo"
ENDED_BEFORE_TAG = "musehub/ended_before"
DRY_RUN_TAG = "musehub/dry_run"

CHOICE_TAGS = {
    SELECT_TAG: f"`{'`, `'.join(Selection)}`; without it `{Selection.OUTDATED}`",
    CODES_TAG: f"with `{Selection.FAILED}`: reason codes, with commas between them; without it any",
    REPO_TAG: "one repository, as `owner/slug` or by its id; without it all",
    ENDED_BEFORE_TAG: (
        "only jobs that ended before this time, ISO 8601 with an offset; without it, before this"
        " run was requested, or the first one of which it is a re-execution"
    ),
    DRY_RUN_TAG: "`true`: only say what would be taken; without it `false`",
}
"""What a run takes can be said by these; and what each may be, in Markdown."""

_PREFIX = "musehub/"
_T = TypeVar("_T")


class BackfillConfig(dg.Config):
    """Which of a day's jobs are indexed again. What is left out, a tag of the run may say."""

    select: Selection | None = Field(
        default=None,
        description=(
            "OUTDATED: done by an older version of the pipeline; FAILED: failed, with one of"
            " `codes`; ALL: done or failed, whatever the version. Default: what the tag"
            f" `{SELECT_TAG}` says, else OUTDATED."
        ),
    )
    codes: list[str] | None = Field(
        default=None,
        description=(
            "For `FAILED`: reason codes; an empty list: whatever the reason. Default: what the tag"
            f" `{CODES_TAG}` says, else whatever the reason."
        ),
    )
    repo_id: str | None = Field(
        default=None,
        description=(
            f"Only jobs of this repository. Default: what the tag `{REPO_TAG}` says, else all."
        ),
    )
    dry_run: bool | None = Field(
        default=None,
        description=(
            "Only plan: say what would be taken, and for how long, and take nothing. Default: what"
            f" the tag `{DRY_RUN_TAG}` says, else false."
        ),
    )
    ended_before: str | None = Field(
        default=None,
        description=(
            "Only jobs that ended before this time, ISO 8601 with an offset. Default: what the tag"
            f" `{ENDED_BEFORE_TAG}` says, else when this run was requested, or the first one of"
            " which it is a re-execution."
        ),
    )

    @field_validator("codes")
    @classmethod
    def _check_codes(cls, codes: list[str] | None) -> list[str] | None:
        return codes and [parse_code(code) for code in codes]


def choose(
    config: BackfillConfig,
    tags: Mapping[str, str],
    *,
    since: datetime,
    before: datetime,
    ended_before: datetime,
    repo_id_of: Callable[[str], str],
) -> Choice:
    """Return what a run takes: each field is the config's, else its tag's, else the default.

    A tag whose field the config has is not read.

    Raises:
        dg.Failure: a tag or a field is not valid, or two do not go together; the description,
            with which the UI begins, names it.
        Transient: DATABASE_UNAVAILABLE, as of `repo_id_of`.
    """
    _refuse_unknown(tags)
    selection = _said(config.select, tags, SELECT_TAG, _selection) or Selection.OUTDATED
    codes = _said(config.codes, tags, CODES_TAG, _codes) or []
    if codes and selection is not Selection.FAILED:
        where = CODES_TAG if config.codes is None else "codes"
        raise dg.Failure(
            f"{where}: {', '.join(codes)} goes with {Selection.FAILED}, not with {selection}"
        )
    return Choice(
        since=since,
        before=before,
        selection=selection,
        codes=tuple(codes),
        repo_id=_said(config.repo_id, tags, REPO_TAG, repo_id_of),
        ended_before=ended_before,
    )


def ended_before(config: BackfillConfig, tags: Mapping[str, str]) -> datetime | None:
    """Return the time before which jobs have to have ended: the config's, else the tag's, if any.

    Raises:
        Rejection: BAD_TIMESTAMP, in the config.
        dg.Failure: the tag is not valid.
    """
    given = config.ended_before
    parsed = None if given is None else parse_timestamp(given, where="ended_before")
    return _said(parsed, tags, ENDED_BEFORE_TAG, _moment)


def is_dry_run(config: BackfillConfig, tags: Mapping[str, str]) -> bool:
    """Return whether a run only plans: as its config says, else its tag, else not.

    Raises:
        dg.Failure: the tag is not valid.
    """
    return _said(config.dry_run, tags, DRY_RUN_TAG, _flag) or False


def _refuse_unknown(tags: Mapping[str, str]) -> None:
    """Else what a slip in a tag's name left out would have its default."""
    for tag, value in tags.items():
        if tag.startswith(_PREFIX) and tag not in {LANE_TAG, *CHOICE_TAGS}:
            known = ", ".join(CHOICE_TAGS)
            raise dg.Failure(f"{tag}: with {value!r:.80}, is none of the tags {known}")


def _said(
    given: _T | None, tags: Mapping[str, str], tag: str, read: Callable[[str], _T]
) -> _T | None:
    if given is not None or tag not in tags:
        return given
    try:
        return read(tags[tag])
    except (ValueError, RepoNotFound) as error:
        raise dg.Failure(f"{tag}: {error}") from error


def _selection(text: str) -> Selection:
    try:
        return Selection(text.strip().lower())
    except ValueError:
        raise ValueError(f"{text!r:.80} is none of {', '.join(Selection)}") from None


def _moment(text: str) -> datetime:
    try:
        return parse_timestamp(text.strip(), where=ENDED_BEFORE_TAG)
    except Rejection:
        raise ValueError(f"{text!r:.80} is not ISO 8601 with an offset") from None


def _flag(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r:.80} is neither true nor false") from None


def _codes(text: str) -> list[str]:
    return [parse_code(code) for code in text.split(",")]
