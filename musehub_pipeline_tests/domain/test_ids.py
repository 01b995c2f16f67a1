"""Ids: two spellings of the same 32 bytes, and the schemes that make them."""

from hashlib import sha256

import pytest

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import Commit
from musehub_pipeline_tests.factories import joined

DIGITS = "0123456789abcdef" * 4
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("text", [DIGITS, f"sha256:{DIGITS}", "0" * 64])
def test_64_lowercase_hex_digits_are_an_id_bare_or_prefixed(text: str) -> None:
    assert ids.is_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        DIGITS[1:],
        DIGITS + "0",
        DIGITS.upper(),
        f"sha256:{DIGITS[1:]}",
        f"sha256:{DIGITS}0",
        f"SHA256:{DIGITS}",
        f"sha512:{DIGITS}",
        f"sha256: {DIGITS}",
        f"sha256:sha256:{DIGITS}",
        f" {DIGITS}",
        f"{DIGITS}\n",
        f"{DIGITS}\0",
        "g" + DIGITS[1:],
        "\u0661" + DIGITS[1:],  # a digit, though not one of sha256's
        "../" + DIGITS[3:],
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert not ids.is_id(text)


@pytest.mark.parametrize("spelling", [DIGITS, f"sha256:{DIGITS}"])
def test_both_spellings_stand_for_the_same_digest(spelling: str) -> None:
    digest = bytes.fromhex(DIGITS)

    assert ids.hex_of(spelling) == DIGITS
    assert ids.digest_of(spelling) == digest
    assert ids.stored(spelling) == ids.id_of(digest) == f"sha256:{DIGITS}"


def test_an_object_id_is_the_hash_of_its_content() -> None:
    assert ids.object_id(b"") == f"sha256:{EMPTY}"
    assert ids.object_id(b"tone") == f"sha256:{sha256(b'tone').hexdigest()}"


def test_a_snapshot_is_hashed_as_sorted_pairs_whatever_the_order_of_its_manifest() -> None:
    pairs = {"b": "2" * 64, "a/é": "1" * 64, "a": "sha256:" + "3" * 64}

    expected = joined("a", pairs["a"], "a/é", pairs["a/é"], "b", pairs["b"])
    assert ids.snapshot_hex(pairs) == expected
    assert ids.snapshot_hex(dict(reversed(pairs.items()))) == expected


def test_an_empty_manifest_hashes_to_the_hash_of_nothing() -> None:
    assert ids.snapshot_hex({}) == EMPTY


def test_the_spelling_of_the_client_is_hashed() -> None:
    assert ids.snapshot_hex({"a": DIGITS}) != ids.snapshot_hex({"a": f"sha256:{DIGITS}"})


def commit(**changed: str | None) -> Commit:
    fields = {
        "commit_id": DIGITS,
        "snapshot_id": "sha256:" + "5" * 64,
        "message": "fügt ☃ hinzu",
        "committed_at": "2026-03-01T12:00:00+01:00",
        "author": "Ada",
    }
    return Commit(**{**fields, **changed})  # pyright: ignore[reportArgumentType]


def test_a_commit_is_hashed_with_its_author_or_by_the_older_scheme_without() -> None:
    fields = ("", "sha256:" + "5" * 64, "fügt ☃ hinzu", "2026-03-01T12:00:00+01:00")
    root = commit()

    older, newer = joined(*fields), joined(*fields, "Ada")
    assert list(ids.commit_hexes(root)) == [older, newer]
    assert ids.commit_hex(root) == newer
    assert [ids.is_commit_id_of(x, root) for x in (older, f"sha256:{newer}", DIGITS)] == [
        True,
        True,
        False,
    ]


def test_parents_are_hashed_in_sorted_order() -> None:
    one, two = "1" * 64, "sha256:" + "2" * 64
    first = commit(parent_commit_id=one, parent2_commit_id=two)
    second = commit(parent_commit_id=two, parent2_commit_id=one)

    expected = joined(one, two, first.snapshot_id, first.message, first.committed_at, "Ada")
    assert ids.commit_hex(first) == ids.commit_hex(second) == expected


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("message", "another"),
        ("author", "Bob"),
        ("committed_at", "2026-03-01T11:00:00+00:00"),  # the same moment, spelled otherwise
        ("snapshot_id", "5" * 64),
        ("parent_commit_id", "1" * 64),
    ],
)
def test_every_hashed_field_counts(changed: str, value: str) -> None:
    assert ids.commit_hex(commit(**{changed: value})) != ids.commit_hex(commit())
