"""What a run of a backfill takes, as its config says it, or its tags.

The UI's dialog of backfills has room for tags, and for no config.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

import dagster as dg
from pydantic import Field, field_validator

from musehub_pipeline.domain.backfill import Select, Selection
from musehub_pipeline.domain.commit import parse_timestamp
from musehub_pipeline.domain.errors import Rejection, RepoNotFound, parse_code
from musehub_pipeline.domain.run_requests import LANE_TAG
from musehub_pipeline.orchestration.instance import PROCESS_TAG

SELECT_TAG = "musehub/select"
CODES_TAG = "musehub/codes"
REPO_TAG = "musehub/repo"
ENDED_BEFORE_TAG = "musehub/ended_before"
DRY_RUN_TAG = "musehub/dry_run"

SELECTION_TAGS = {
    SELECT_TAG: f"`{'`, `'.join(Select)}`; without it `{Select.OUTDATED}`",
    CODES_TAG: f"with `{Select.FAILED}`: reason codes, with commas between them; without it any",
    REPO_TAG: "one repository, as `owner/slug` or by its id; without it all",
    ENDED_BEFORE_TAG: (
        "only jobs that ended before this time, ISO 8601 with an offset; without it, before this"
        " run was requested, or the first one of which it is a re-execution"
    ),
    DRY_RUN_TAG: "`true`: only say what would be taken; without it `false`",
}
"""What a run takes can be said by these; and what each may be, in Markdown."""

PLANNED_TAG = "musehub/planned"
INDEXED_TAG = "musehub/indexed"
"""How many jobs, as a run says itself: a list of runs, as on a backfill's page, shows its tags."""

_PREFIX = "musehub/"
_SAID_BY_RUNS = {LANE_TAG, PROCESS_TAG, PLANNED_TAG, INDEXED_TAG}  # a re-execution inherits them
_T = TypeVar("_T")


class BackfillConfig(dg.Config):
    """Which of a day's jobs are indexed again. What is left out, a tag of the run may say."""

    select: Select | None = Field(
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
            "Only plan: say what would be taken, and how long it would take. Default: what"
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

    def selection(
        self,
        tags: Mapping[str, str],
        *,
        since: datetime,
        before: datetime,
        requested_at: datetime,
        repo_id_of: Callable[[str], str],
    ) -> Selection:
        """Return what a run takes: each field is the config's, else its tag's, else the default.

        A tag whose field the config has is not read.

        Raises:
            dg.Failure: a tag or a field is not valid, or two do not go together; the description,
                with which the UI begins, names it.
            Rejection: BAD_TIMESTAMP, in the config.
            Transient: DATABASE_UNAVAILABLE, as of `repo_id_of`.
        """
        _refuse_unknown(tags)
        given = self.ended_before
        ended_before = None if given is None else parse_timestamp(given, where="ended_before")
        select = _said(self.select, tags, SELECT_TAG, _select) or Select.OUTDATED
        codes = _said(self.codes, tags, CODES_TAG, _codes) or []
        if codes and select is not Select.FAILED:
            where = CODES_TAG if self.codes is None else "codes"
            raise dg.Failure(
                f"{where}: {', '.join(codes)} goes with {Select.FAILED}, not with {select}"
            )
        return Selection(
            since=since,
            before=before,
            select=select,
            codes=tuple(codes),
            repo_id=_said(self.repo_id, tags, REPO_TAG, repo_id_of),
            ended_before=_said(ended_before, tags, ENDED_BEFORE_TAG, _moment) or requested_at,
        )

    def is_dry_run(self, tags: Mapping[str, str]) -> bool:
        """Return whether a run only plans: as its config says, else its tag, else not.

        Raises:
            dg.Failure: the tag is not valid.
        """
        return _said(self.dry_run, tags, DRY_RUN_TAG, _flag) or False


def _refuse_unknown(tags: Mapping[str, str]) -> None:
    """Else what a slip in a tag's name left out would have its default."""
    for tag, value in tags.items():
        if tag.startswith(_PREFIX) and tag not in _SAID_BY_RUNS | SELECTION_TAGS.keys():
            known = ", ".join(SELECTION_TAGS)
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


def _select(text: str) -> Select:
    try:
        return Select(text.strip().lower())
    except ValueError:
        raise ValueError(f"{text!r:.80} is none of {', '.join(Select)}") from None


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
