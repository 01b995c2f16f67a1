"""A job's payload, as the hub writes it, and what is refused of it."""

from typing import Any

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.job import Job, check_branch, payload_of

HEX = "0123456789abcdef" * 4
PAYLOAD = {
    "mpack_key": f"sha256:{HEX}",
    "pusher_id": "ada",
    "branch": "main",
    "head": "f" * 64,
    "force": True,
    "declared_objects_count": 3,
}


def refusal(payload: Any) -> tuple[str, str]:
    with pytest.raises(Rejection) as caught:
        Job.from_payload(payload)
    return caught.value.code.value, caught.value.message


def test_a_payload_is_read_with_its_ids_in_the_stored_spelling() -> None:
    assert Job.from_payload(PAYLOAD) == Job(
        mpack_key=f"sha256:{HEX}",
        branch="main",
        head="sha256:" + "f" * 64,
        force=True,
        declared_objects_count=3,
    )


def test_a_payload_is_written_as_it_is_read() -> None:
    push: dict[str, Any] = {
        "mpack_key": f"sha256:{HEX}",
        "branch": "main",
        "head": "sha256:" + "f" * 64,
        "force": True,
        "declared_objects_count": 3,
    }

    assert payload_of(**push, pusher_id="ada") == push | {"pusher_id": "ada"}
    assert Job.from_payload(payload_of(**push, pusher_id="ada")) == Job(**push)


def test_a_payload_names_what_it_leaves_open() -> None:
    assert payload_of(mpack_key=HEX) == {
        "mpack_key": HEX,
        "pusher_id": None,
        "branch": None,
        "head": None,
        "force": False,
        "declared_objects_count": None,
    }
    assert Job.from_payload(payload_of(mpack_key=HEX)) == Job.from_payload({"mpack_key": HEX})


@pytest.mark.parametrize("absent", [None, "left out"])
def test_only_the_mpack_key_is_required(absent: str | None) -> None:
    optional = {} if absent else dict.fromkeys(PAYLOAD.keys() - {"mpack_key", "force"})

    assert Job.from_payload({"mpack_key": HEX} | optional) == Job(
        mpack_key=f"sha256:{HEX}",
        branch=None,
        head=None,
        force=False,
        declared_objects_count=None,
    )


def test_unknown_keys_are_ignored() -> None:
    assert Job.from_payload(PAYLOAD | {"future": [{}]}) == Job.from_payload(PAYLOAD)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mpack_key": ""}, "payload.mpack_key: '' is not an id"),
        ({"mpack_key": HEX.upper()}, f"payload.mpack_key: '{HEX.upper()}' is not an id"),
        ({"mpack_key": "../" + HEX[3:]}, f"payload.mpack_key: '../{HEX[3:]}' is not an id"),
        ({"head": "HEAD"}, "payload.head: 'HEAD' is not an id"),
        ({"branch": None}, "payload.head: a head needs a branch to move"),
        ({"branch": "a..b"}, "payload.branch: 'a..b' can be no branch: it holds .."),
        (
            {"branch": "HEAD"},
            "payload.branch: 'HEAD' can be no branch: git means another thing by it",
        ),
        ({"branch": ""}, "payload.head: a head needs a branch to move"),
    ],
)
def test_a_bad_field_is_named(changed: dict[str, Any], message: str) -> None:
    assert refusal(PAYLOAD | changed) == ("BAD_PAYLOAD", message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mpack_key", None),
        ("mpack_key", 7),
        ("pusher_id", 7),
        ("branch", ["main"]),
        ("head", {}),
        ("force", None),
        ("force", "no"),
        ("declared_objects_count", "3"),
        ("declared_objects_count", 3.5),
        ("declared_objects_count", True),
    ],
)
def test_a_field_of_another_type_is_named(name: str, value: Any) -> None:
    code, message = refusal(PAYLOAD | {name: value})

    assert (code, message[:9], message[-len(name) - 4 :]) == (
        "BAD_PAYLOAD",
        "payload: ",
        f"`$.{name}`",
    )


@pytest.mark.parametrize("payload", [None, [], "text", 7, {}])
def test_what_is_no_payload_at_all_is_refused(payload: Any) -> None:
    assert refusal(payload)[0] == "BAD_PAYLOAD"


def test_a_long_value_is_not_repeated_whole() -> None:
    assert len(refusal(PAYLOAD | {"head": "x" * 1_000_000})[1]) < 200


@pytest.mark.parametrize("name", ["", "main", "größe/日本", "x" * 255, "é" * 127])
def test_a_branch_name_may_have_255_bytes(name: str) -> None:
    check_branch(name, where="branch")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 256, "branch: a branch name is longer than 255 bytes"),
        ("é" * 128, "branch: a branch name is longer than 255 bytes"),
        ("ma\0in", "branch: a branch name holds NUL"),
    ],
)
def test_a_branch_name_that_cannot_be_indexed_is_refused(name: str, message: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_branch(name, where="branch")

    assert (caught.value.code.value, caught.value.message) == ("BAD_TEXT", message)
