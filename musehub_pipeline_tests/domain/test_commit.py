"""One commit: what is read of it, what it is hashed as, and the row that is stored."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from musehub_pipeline.domain.commit import (
    CommitRow,
    check_commit,
    decode_commit,
    parse_timestamp,
    row_of,
)
from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline_tests.domain.reading import array, mapping
from musehub_pipeline_tests.factories import History, joined, pack

ONE, TWO, THREE = "1" * 64, "sha256:" + "2" * 64, "3" * 64
PLAIN: dict[str, Any] = {
    "commit_id": ONE,
    "snapshot_id": TWO,
    "message": "a change",
    "committed_at": "2026-03-01T12:00:00+01:00",
    "author": "Ada",
    "branch": "main",
}


def check(raw: bytes, *, verify_id: bool = False) -> bool:
    return check_commit(decode_commit(raw), raw, verify_id=verify_id, limits=Limits())


def row_in(raw: bytes) -> CommitRow:
    check(raw)
    return row_of(decode_commit(raw), raw)


def commit(**changed: Any) -> bytes:
    return pack(PLAIN | changed)


def refusal_of(**changed: Any) -> tuple[str, str]:
    return refusal_of_raw(commit(**changed))


def refusal_of_raw(raw: bytes) -> tuple[str, str]:
    with pytest.raises(Rejection) as caught:
        check(raw)
    return caught.value.code.value, caught.value.message


def test_a_row_holds_all_that_the_client_said_with_ids_in_the_stored_spelling() -> None:
    kept = {
        "metadata": {"key": "tempo", "bpm": 120, "nested": [1.5, None, True, {"é": []}]},
        "structured_delta": {"ops": []},
        "sem_ver_bump": "minor",
        "breaking_changes": ["all of it"],
        "agent_id": "agent",
        "model_id": "model",
        "toolchain_id": "tools",
        "prompt_hash": "abc",
        "signature": "sig",
        "signer_key_id": "key",
        "format_version": 3,
        "reviewed_by": ["Bob"],
        "test_runs": 0,
    }

    row = row_in(
        commit(parent_commit_id=THREE, parent2_commit_id=TWO, repo_id="r", unknown=[{}], **kept)
    )

    assert json.loads(row.commit_meta) == kept
    assert json.loads(row.parent_ids) == [f"sha256:{THREE}", TWO]
    assert row._replace(commit_meta=b"", parent_ids=b"") == CommitRow(
        commit_id=f"sha256:{ONE}",
        branch="main",
        parent_ids=b"",
        message="a change",
        author="Ada",
        timestamp=datetime(2026, 3, 1, 11, tzinfo=UTC),
        snapshot_id=TWO,
        commit_meta=b"",
    )


def test_what_is_optional_may_be_absent_or_nil() -> None:
    required = ("commit_id", "snapshot_id", "message", "committed_at")
    least = {name: PLAIN[name] for name in required}
    nil = {"parent_commit_id": None, "parent2_commit_id": None, "metadata": None}

    rows = [row_in(pack(least | more)) for more in ({}, nil)]

    assert [(r.branch, r.author, r.parent_ids, r.commit_meta) for r in rows] == [
        ("", "", b"[]", b"{}")
    ] * 2


@pytest.mark.parametrize("parents", [(None, ""), ("", None), ("", "")])
def test_an_empty_parent_is_none(parents: tuple[str | None, str | None]) -> None:
    first, second = parents
    root = commit(parent_commit_id=first, parent2_commit_id=second)

    check(root)
    assert decode_commit(root).parents == ()
    side = commit(parent_commit_id=first, parent2_commit_id=THREE)
    assert decode_commit(side).parents == (THREE,)


@pytest.mark.parametrize("name", ["commit_id", "snapshot_id", "message", "committed_at"])
def test_a_missing_field_is_named(name: str) -> None:
    code, message = refusal_of_raw(pack({key: PLAIN[key] for key in PLAIN if key != name}))

    assert code == "MPACK_MALFORMED"
    assert f"`{name}`" in message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("commit_id", (None, 7, b"1" * 64, [], {})),
        ("snapshot_id", (None, 7, b"1" * 64, [], {})),
        ("message", (None, 7, b"text", ["text"])),
        ("committed_at", (None, 1_772_000_000, b"2026-03-01T12:00:00+01:00")),
        ("author", (None, 7, b"Ada", {})),
        ("branch", (None, 7, b"main", [])),
        ("parent_commit_id", (7, b"1" * 64, [ONE])),
        ("parent2_commit_id", (7, b"1" * 64, [ONE])),
        ("metadata", (7, "text", [], {7: "a key that is no text"})),
    ],
)
def test_a_field_of_another_type_is_named(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        code, message = refusal_of_raw(pack(PLAIN | {name: value}))

        assert code == "MPACK_MALFORMED"
        assert f"`$.{name}" in message


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x90", b"\xa1x", b"\x80", b"\x81\x01\x01"])
def test_what_is_no_commit_at_all_is_refused(raw: bytes) -> None:
    assert refusal_of_raw(raw)[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize(
    "packed",
    [
        b"\xd4\x05x",  # an extension
        mapping({"nested": b"\x81\xc0\x01"}),  # nil as a key
        mapping({"nested": b"\x81\x91\x01\x01"}),  # a list as a key
        mapping({"nested": b"\xa2\xff\xfe"}),  # a text that is not UTF-8
        mapping({"nested": b"\x91" * 1_000_000 + b"\xc0"}),
        mapping({"nested": b"\x81\xa0" * 1_000_000 + b"\xc0"}),
    ],
)
@pytest.mark.parametrize("name", ["metadata", "structured_delta", "test_runs"])
def test_what_json_cannot_hold_is_malformed(name: str, packed: bytes) -> None:
    fields = {key: pack(value) for key, value in PLAIN.items()}

    assert refusal_of_raw(mapping({**fields, name: packed}))[0] == "MPACK_MALFORMED"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message", "a\0b"),
        ("author", "\0"),
        ("branch", "ma\0in"),
        ("metadata", {"key": "a\0b"}),
        ("metadata", {"ke\0y": 1}),
        ("metadata", {"a": [{"b": ["", "c\0"]}]}),
        ("metadata", {"a": "\\\0"}),  # behind a backslash, which JSON doubles
        ("metadata", {"a": "\\u0000 \0"}),
        ("structured_delta", ["\0"]),
        ("breaking_changes", ["fine", "\0"]),
        ("agent_id", "\0"),
        ("test_runs", {"\0": 0}),
    ],
)
def test_nul_is_refused_wherever_it_would_be_stored(field: str, value: object) -> None:
    assert refusal_of(**{field: value})[0] == "BAD_TEXT"


@pytest.mark.parametrize("separator", ["\0", "T\0"])
def test_nul_is_refused_in_the_time_which_is_hashed_too(separator: str) -> None:
    code, _ = refusal_of(committed_at=f"2026-03-01{separator}12:00:00+01:00")

    assert code in {"BAD_TEXT", "BAD_TIMESTAMP"}


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\\\\\u0000", "u0000", "\\", "\x01\x1f"])
def test_a_nul_that_is_only_spelled_out_is_a_text_like_others(text: str) -> None:
    row = row_in(commit(message=text, author=text, metadata={text: text}))

    assert json.loads(row.commit_meta) == {"metadata": {text: text}}
    assert (row.message, row.author) == (text, text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01T12:00:00+01:00", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 12:00:00.25-05:30", datetime(2026, 3, 1, 17, 30, 0, 250_000, tzinfo=UTC)),
        ("1970-01-01T00:00:00-00:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59+00:00", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_iso_8601_with_an_offset(text: str, utc: datetime) -> None:
    assert parse_timestamp(text, where="committed_at") == utc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-03-01T12:00:00",
        "2026-03-01",
        "2026-02-30T12:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T12:00:00+25:00",
        "1772362800",
        "2026-03-01T12:00:00Z ",
        "\uff12\uff10\uff12\uff16-03-01T12:00:00Z",
        "x" * 1_000_000,
    ],
)
def test_any_other_time_is_refused(text: str) -> None:
    assert refusal_of(committed_at=text) == (
        "BAD_TIMESTAMP",
        f"committed_at: {repr(text)[:60]} is not ISO 8601 with an offset",
    )


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "10000-01-01T00:00:00Z",
        "+12026-03-01T12:00:00Z",
        "-0001-01-01T00:00:00Z",
        "0000-12-31T23:59:59Z",
    ],
)
def test_a_time_out_of_range_is_refused_as_such(text: str) -> None:
    assert refusal_of(committed_at=text) == (
        "BAD_TIMESTAMP",
        f"committed_at: {text!r} lies outside the years 1 to 9999 in UTC",
    )


@pytest.mark.parametrize(
    "name", ["commit_id", "snapshot_id", "parent_commit_id", "parent2_commit_id"]
)
@pytest.mark.parametrize("bad", ["f" * 63, "F" * 64, "md5:" + "f" * 64, "x" * 1_000_000, "\0"])
def test_a_bad_id_is_named(name: str, bad: str) -> None:
    assert refusal_of(**{name: bad}) == ("BAD_ID", f"{name}: {repr(bad)[:120]} is not an id")


@pytest.mark.parametrize("name", ["commit_id", "snapshot_id"])
def test_only_a_parent_may_be_empty(name: str) -> None:
    assert refusal_of(**{name: ""}) == ("BAD_ID", f"{name}: '' is not an id")


@pytest.mark.parametrize("prefix", ["", "sha256:"])
@pytest.mark.parametrize("hash_author", [False, True])
def test_both_schemes_are_known_in_both_spellings(prefix: str, hash_author: bool) -> None:
    history = History(prefix=prefix, hash_author=hash_author)
    root = history.commit({"a": b"a"})
    side = history.commit({"a": b"b"}, parents=[root])
    history.commit({"a": b"c"}, parents=[side, root])

    verified = [check(pack(each), verify_id=True) for each in history.commits.values()]

    assert verified == [True, True, True]


def test_an_unknown_scheme_is_refused_with_what_was_expected_or_only_noted() -> None:
    fields = ("", TWO, "a change", "2026-03-01T12:00:00+01:00")

    assert check(commit(), verify_id=False) is False
    with pytest.raises(Rejection) as caught:
        check(commit(), verify_id=True)

    assert str(caught.value) == (
        f"COMMIT_ID_MISMATCH: the fields hash to {joined(*fields)} or {joined(*fields, 'Ada')},"
        f" the commit_id is {ONE}"
    )


def test_a_long_list_of_numbers_is_kept_as_it_is() -> None:
    raw = mapping(
        {
            **{key: pack(value) for key, value in PLAIN.items()},
            "test_runs": array(3, b"\xcf" + b"\xff" * 8 + b"\xd3\x80" + b"\0" * 7 + b"\x00"),
        }
    )

    meta = json.loads(row_in(raw).commit_meta)
    assert meta == {"test_runs": [2**64 - 1, -(2**63), 0]}
