"""Owners and tags: how they are written, and that Dagster takes what is read."""

import dagster as dg
import pytest

from musehub_pipeline.domain.labels import parse_owners, parse_tags

KEY = "k" * 63


@pytest.mark.parametrize(
    ("text", "owners"),
    [
        ("", []),
        (" ", []),
        ("ada@example.org", ["ada@example.org"]),
        (" team:hub , a.b+c%d@x-y.co.uk", ["team:hub", "a.b+c%d@x-y.co.uk"]),
        ("team:The Hub", ["team:The Hub"]),
    ],
)
def test_owners_are_read_and_dagster_takes_them(text: str, owners: list[str]) -> None:
    assert parse_owners(text) == owners
    assert list(dg.AssetSpec("it", owners=parse_owners(text)).owners) == owners


@pytest.mark.parametrize(
    "text", ["ada", "team:", "team: ", "ada@host", "@x.org", ",", "ada@x.org,", "team:a\nb", "-@x"]
)
def test_what_is_no_owner_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither an email address nor team:NAME"):
        parse_owners(text)


def test_nobody_owns_twice() -> None:
    with pytest.raises(ValueError, match="'team:a' is given twice"):
        parse_owners("team:a,team:b,team:a")


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        (" ", {}),
        ("env=production", {"env": "production"}),
        (" acme.org/tier = 1 , a-b_c= ", {"acme.org/tier": "1", "a-b_c": ""}),
        (f"{KEY}/{KEY}={KEY}", {f"{KEY}/{KEY}": KEY}),
    ],
)
def test_tags_are_read_and_dagster_takes_them(text: str, tags: dict[str, str]) -> None:
    assert parse_tags(text) == tags
    assert dg.AssetSpec("it", tags=parse_tags(text)).tags == tags


@pytest.mark.parametrize(
    "text",
    [
        "env",
        "=x",
        ",",
        "a=b,",
        "a b=c",
        "a=b c",
        "a=b=c",
        "a/b/c=d",
        f"{KEY}k=v",
        f"k={KEY}k",
        "é=1",
    ],
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        parse_tags(text)


@pytest.mark.parametrize("key", ["dagster/kind", ".dagster/x", "musehub/job_type"])
def test_tags_of_others_are_left_to_them(key: str) -> None:
    with pytest.raises(ValueError, match="is in a room that is taken"):
        parse_tags(f"{key}=x")


def test_no_tag_is_given_twice() -> None:
    with pytest.raises(ValueError, match="'a' is given twice, the second time as '2'"):
        parse_tags("a=1,a=2")


def test_what_is_refused_is_named_in_short() -> None:
    for parse in (parse_owners, parse_tags):
        with pytest.raises(ValueError, match="is n") as caught:
            parse("x" * 10_000)
        assert len(str(caught.value)) < 200
