"""Whatever valid history is packed is found again; whatever is broken is refused, nothing worse."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline_tests.domain.reading import read
from musehub_pipeline_tests.factories import History, pack

quickly = settings(max_examples=50, derandomize=True, deadline=None, database=None)
thoroughly = settings(max_examples=400, derandomize=True, deadline=None, database=None)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
names = st.text(
    st.characters(exclude_characters="\0./\\", exclude_categories=("Cs",)), min_size=1, max_size=20
)
files = st.dictionaries(names, st.binary(max_size=40), max_size=4)
times = st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts
json = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner))
anything = st.recursive(
    scalars | st.floats() | st.binary(max_size=20) | st.text(max_size=5).filter(str.isascii),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History(
        prefix=draw(st.sampled_from(["", "sha256:"])), hash_author=draw(st.booleans())
    )
    for _ in range(draw(st.integers(0, 4))):
        known = list(history.commits)
        history.commit(
            draw(files),
            parents=draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
            if known
            else [],
            message=draw(texts),
            author=draw(texts),
            committed_at=draw(times.filter(_is_within_years)),
            branch=draw(texts),
            metadata=draw(st.dictionaries(texts, json, max_size=2)),
        )
    return history


def _is_within_years(text: str) -> bool:
    return "0002" <= text[:4] <= "9998"


@pytest.mark.slow
@quickly
@given(
    history=histories(),
    order=st.permutations(["commits", "snapshots", "objects", "future"]),
    future=anything,
)
def test_every_item_of_a_valid_history_is_found_at_its_place(
    history: History, order: list[str], future: Any
) -> None:
    content = history.content() | {"future": future}
    mpack = pack({kind: content[kind] for kind in order})

    inventory = read(mpack)

    def found(kind: str) -> list[bytes]:
        return [mpack[x.offset : x.offset + x.size] for x in getattr(inventory, kind)]

    assert inventory.unverified_ids == 0
    assert found("objects") == [each["content"] for each in content["objects"]]
    assert [ids.id_of(x) for x in inventory.objects.digests()] == list(
        map(ids.stored, history.objects)
    )
    assert [msgpack.unpackb(raw) for raw in found("snapshots")] == content["snapshots"]
    unpacked = [msgpack.unpackb(raw, strict_map_key=False) for raw in found("commits")]
    assert unpacked == content["commits"]
    assert dict(inventory.parents) == {
        ids.digest_of(commit_id): tuple(
            ids.digest_of(parent)
            for parent in (commit["parent_commit_id"], commit["parent2_commit_id"])
            if parent
        )
        for commit_id, commit in history.commits.items()
    }


def refusal(mpack: bytes, *, verify_ids: bool) -> Rejection | None:
    try:
        read(mpack, verify_ids=verify_ids, limits=Limits(commits=9, snapshots=9, objects=19))
    except Rejection as rejection:
        return rejection
    return None


def assert_accepted_or_refused(mpack: bytes) -> None:
    """Any other exception than a rejection with a documented code fails the test."""
    for verify_ids in (True, False):
        rejection = refusal(mpack, verify_ids=verify_ids)
        if rejection is not None:
            assert isinstance(rejection.code, Fault)
            assert rejection.item is not None
            assert len(rejection.message) < 400


VALID = History()
VALID.commit(
    {"a": b"a", "b/é": b"\xc4\x02" * 70, "leer": b""},
    metadata={"k": [1, None, 2.5, {"deep": ["x"]}]},
    parents=[VALID.commit({"a": b"b"})],
)
VALID_MPACK = VALID.mpack(tags=[], branch_heads={"main": "x"})

HOSTILE = [b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc7\x0c\xff", b"\xd6\xff", b"\x80"]

mutations = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat"]),
        st.integers(0, len(VALID_MPACK) - 1),
        st.binary(min_size=1, max_size=6) | st.sampled_from(HOSTILE),
    ),
    min_size=1,
    max_size=4,
)


def mutated(mpack: bytes, kind: str, at: int, new: bytes) -> bytes:
    before, after = mpack[:at], mpack[at:]
    match kind:
        case "replace":
            return before + new + after[len(new) :]
        case "insert":
            return before + new + after
        case "delete":
            return before + after[len(new) :]
        case _:
            return before + after[:20] + after


@pytest.mark.slow
@thoroughly
@given(changes=mutations)
def test_a_mpack_of_mutated_bytes_is_accepted_or_refused(
    changes: list[tuple[str, int, bytes]],
) -> None:
    mpack = VALID_MPACK
    for kind, at, new in changes:
        mpack = mutated(mpack, kind, at, new)

    assert_accepted_or_refused(mpack)


def places_of(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value of a nested structure."""
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    return [path, *(place for key, child in children for place in places_of(child, (*path, key)))]


PLACES = [place for place in places_of(VALID.content()) if place]


@pytest.mark.slow
@thoroughly
@given(
    place=st.sampled_from(PLACES),
    value=anything,
    key=st.none() | scalars,
    hostile=st.sampled_from([None, msgpack.Timestamp(2**34 - 1, 5), msgpack.ExtType(1, b"")]),
)
def test_a_mpack_with_any_value_in_any_place_is_accepted_or_refused(
    place: tuple[Any, ...], value: Any, key: Any, hostile: Any
) -> None:
    content = msgpack.unpackb(pack(VALID.content()), strict_map_key=False)
    parent = content
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = hostile or value
    if key is not None and isinstance(parent, dict):
        parent[key] = value

    assert_accepted_or_refused(pack(content))


@quickly
@given(mpack=st.binary(max_size=60))
def test_noise_is_accepted_or_refused(mpack: bytes) -> None:
    assert_accepted_or_refused(mpack)
