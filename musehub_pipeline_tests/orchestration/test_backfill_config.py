"""What a run of a backfill takes, by its config and by its tags."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.domain.backfill import Select, Selection
from musehub_pipeline.domain.errors import RepoNotFound
from musehub_pipeline.orchestration.backfill_config import BackfillConfig

SINCE = datetime(2025, 3, 3, tzinfo=UTC)
BEFORE = SINCE + timedelta(days=1)
ENDED_BEFORE = BEFORE + timedelta(days=100)
OF_DAGSTER = {
    "musehub/lane": "backfill",
    "dagster/partition": "2025-03-03",
    "dagster/backfill": "qmcbajyk",
}


def repo_id_of(repo: str) -> str:
    if repo not in {"ada/song", "repo-song"}:
        raise RepoNotFound(f"no repository is called {repo!r}")
    return "repo-song"


def chosen(tags: dict[str, str], **config: Any) -> Selection:
    return BackfillConfig(**config).selection(
        OF_DAGSTER | tags,
        since=SINCE,
        before=BEFORE,
        requested_at=ENDED_BEFORE,
        repo_id_of=repo_id_of,
    )


def selection(select: Select = Select.OUTDATED, *codes: str, **fields: Any) -> Selection:
    return Selection(
        since=SINCE,
        before=BEFORE,
        select=select,
        codes=codes,
        ended_before=ENDED_BEFORE,
        **fields,
    )


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, selection()),
        ({"someone's/own": "tag"}, selection()),
        ({"musehub/select": "outdated"}, selection()),
        ({"musehub/select": "failed"}, selection(Select.FAILED)),
        ({"musehub/select": "all"}, selection(Select.ALL)),
        ({"musehub/select": " ALL "}, selection(Select.ALL)),  # as the launchpad has it
        ({"musehub/repo": "ada/song"}, selection(repo_id="repo-song")),
        ({"musehub/repo": "repo-song"}, selection(repo_id="repo-song")),
        (
            {"musehub/select": "failed", "musehub/codes": "BAD_ID"},
            selection(Select.FAILED, "BAD_ID"),
        ),
        (
            {
                "musehub/select": "failed",
                "musehub/codes": "BAD_ID, mpack_missing",
                "musehub/repo": "ada/song",
            },
            selection(Select.FAILED, "BAD_ID", "MPACK_MISSING", repo_id="repo-song"),
        ),
    ],
)
def test_the_tags_say_what_the_config_leaves_out(tags: dict[str, str], expected: Selection) -> None:
    assert chosen(tags) == expected


TAGS = {"musehub/select": "failed", "musehub/codes": "BAD_ID", "musehub/repo": "ada/song"}


@pytest.mark.parametrize(
    ("tags", "config", "expected"),
    [
        (TAGS, {"repo_id": "repo-x"}, selection(Select.FAILED, "BAD_ID", repo_id="repo-x")),
        (TAGS, {"codes": []}, selection(Select.FAILED, repo_id="repo-song")),
        (
            TAGS,
            {"codes": ["CANCELLED"]},
            selection(Select.FAILED, "CANCELLED", repo_id="repo-song"),
        ),
        (TAGS, {"select": Select.ALL, "codes": []}, selection(Select.ALL, repo_id="repo-song")),
        ({"musehub/select": "all"}, {"select": Select.OUTDATED}, selection()),
        (
            {"musehub/codes": "BAD_ID"},
            {"select": Select.FAILED},
            selection(Select.FAILED, "BAD_ID"),
        ),
        (
            dict.fromkeys(TAGS, "nonsense"),
            {"select": Select.FAILED, "codes": ["BAD_ID"], "repo_id": "repo-x"},
            selection(Select.FAILED, "BAD_ID", repo_id="repo-x"),
        ),
    ],
)
def test_each_field_of_the_config_goes_before_its_tag(
    tags: dict[str, str], config: dict[str, Any], expected: Selection
) -> None:
    assert chosen(tags, **config) == expected


@pytest.mark.parametrize(
    ("tags", "config", "message"),
    [
        ({"musehub/select": "some"}, {}, "musehub/select: 'some' is none of outdated, failed, all"),
        ({"musehub/select": ""}, {}, "musehub/select: '' is none of outdated, failed, all"),
        ({"musehub/codes": "BAD"}, {"select": Select.FAILED}, "musehub/codes: 'BAD' is none of"),
        (TAGS | {"musehub/codes": "BAD_ID,"}, {}, "musehub/codes: '' is none of BAD_ID, "),
        (
            {"musehub/codes": "BAD_ID,BAD_TEXT"},
            {},
            "musehub/codes: BAD_ID, BAD_TEXT goes with failed, not with outdated",
        ),
        (TAGS, {"select": Select.ALL}, "musehub/codes: BAD_ID goes with failed, not with all"),
        (
            {"musehub/select": "all"},
            {"codes": ["BAD_ID"]},
            "codes: BAD_ID goes with failed, not with all",
        ),
        ({"musehub/repo": "ada/talk"}, {}, "musehub/repo: no repository is called 'ada/talk'"),
        (
            {"musehub/code": "BAD_ID"},
            {},
            "musehub/code: with 'BAD_ID', is none of the tags musehub/select, musehub/codes, ",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name_and_value(
    tags: dict[str, str], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(dg.Failure) as refused:
        chosen(tags, **config)

    assert (refused.value.description or "").startswith(message)


@pytest.mark.parametrize(
    ("tags", "config", "expected"),
    [
        ({}, {}, False),
        ({"musehub/dry_run": "true"}, {}, True),
        ({"musehub/dry_run": " True "}, {}, True),
        ({"musehub/dry_run": "false"}, {}, False),
        ({"musehub/dry_run": "true"}, {"dry_run": False}, False),
        ({"musehub/dry_run": "nonsense"}, {"dry_run": True}, True),
        ({}, {"dry_run": True}, True),
    ],
)
def test_a_dry_run_is_one_by_its_config_else_by_its_tag(
    tags: dict[str, str], config: dict[str, bool], expected: bool
) -> None:
    assert BackfillConfig(**config).is_dry_run(tags) is expected
