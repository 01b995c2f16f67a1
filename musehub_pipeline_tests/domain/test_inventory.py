"""What an mpack holds: every hash verified, every id checked, places instead of contents."""

from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.inventory import MISSING, UNHELD
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.mpack import LONG_BYTES
from musehub_pipeline_tests.domain.reading import lengths, read, refusal, tiny_history, with_item
from musehub_pipeline_tests.factories import History, pack, small_history

HEX = "0123456789abcdef" * 4
BAD_IDS = ("", HEX[1:], HEX + "0", HEX.upper(), f"sha512:{HEX}", f"sha256:{HEX[1:]}", f"{HEX}\n")


@pytest.mark.parametrize("prefix", ["", "sha256:"])
@pytest.mark.parametrize("hash_author", [False, True])
def test_a_valid_mpack_is_known_by_its_digests(prefix: str, hash_author: bool) -> None:
    history = small_history(prefix, hash_author=hash_author)

    inventory = read(history.mpack())

    assert inventory.unverified_ids == 0
    assert set(inventory.objects.digests()) == set(map(ids.digest_of, history.objects))
    assert set(inventory.snapshots.digests()) == set(map(ids.digest_of, history.snapshots))
    assert set(inventory.commits.digests()) == set(map(ids.digest_of, history.commits))
    assert set(inventory.named_snapshots.digests()) == set(map(ids.digest_of, history.snapshots))
    assert set(inventory.named_objects.digests()) == set(map(ids.digest_of, history.objects))
    chain = [ids.digest_of(commit_id) for commit_id in history.commits]
    assert dict(inventory.parents) == {
        chain[0]: (),
        **{child: (parent,) for parent, child in pairwise(chain)},
    }


def test_a_merge_has_both_parents_in_their_order() -> None:
    history = History()
    parents = [history.commit({"a": b"%d" % n}) for n in range(2)]
    merge = history.commit({"a": b"both"}, parents=reversed(parents))

    inventory = read(history.mpack())

    expected = tuple(ids.digest_of(parent) for parent in reversed(parents))
    assert inventory.parents.parents_of(ids.digest_of(merge)) == expected


def test_what_a_thin_mpack_leans_on_is_noted_though_it_is_not_there() -> None:
    history = small_history()
    before = history.copy()
    tip = list(history.commits)[-1]
    head = history.commit({"src/file0.txt": bytes([100]) * 128}, parents=[tip])

    inventory = read(history.mpack(without=before))

    assert lengths(inventory) == {"commits": 1, "snapshots": 1, "objects": 0}
    assert dict(inventory.parents) == {ids.digest_of(head): (ids.digest_of(tip),)}
    old = sha256(bytes([100]) * 128).digest()
    assert set(inventory.named_objects.digests()) == {old}


def test_an_object_may_occur_twice_and_be_empty() -> None:
    empty = {"object_id": sha256(b"").hexdigest(), "content": b""}
    twice = [empty, empty | {"object_id": f"sha256:{sha256(b'').hexdigest()}", "path": "a"}]

    inventory = read(pack({"objects": twice}))

    digest = sha256(b"").digest()
    assert [(each.digest, each.size) for each in inventory.objects] == [(digest, 0), (digest, 0)]


def test_contents_of_every_size_around_the_buffer_are_found_and_verified() -> None:
    sizes = [LONG_BYTES + n for n in (-300_000, -6, -5, -4, -1, 0, 1)] + [3, LONG_BYTES * 2]
    history = History()
    for number, size in enumerate(sizes):
        history.add_object(bytes([number]) * size)
    history.commit({"after": b"what follows is read, too"})
    content = history.content()
    mpack = pack({kind: content[kind] for kind in ("objects", "snapshots", "commits")})

    inventory = read(mpack)

    assert lengths(inventory) == {"commits": 1, "snapshots": 1, "objects": len(sizes) + 1}
    found = [mpack[each.offset : each.offset + each.size] for each in inventory.objects]
    assert found == list(history.objects.values())


@pytest.mark.parametrize("size", [1, LONG_BYTES - 1, LONG_BYTES * 2])
def test_one_changed_byte_of_a_content_is_a_mismatch_named_with_its_object(size: int) -> None:
    history = History()
    history.add_object(b"fine")
    good = history.add_object(b"\1" * size)
    content = history.content()
    content["objects"][1]["content"] = b"\1" * (size - 1) + b"\0"

    code, message = refusal(pack(content))

    assert code == "OBJECT_HASH_MISMATCH"
    actual = sha256(content["objects"][1]["content"]).hexdigest()
    assert message == (
        f"objects[1]: the content hashes to sha256:{actual}, the object_id is {good}"
    )


@pytest.mark.parametrize(("kind", "name"), [("snapshots", "snapshot_id"), ("commits", "commit_id")])
def test_a_wrong_id_is_a_mismatch_named_with_its_item(kind: str, name: str) -> None:
    content = small_history().content()
    content[kind][2][name] = HEX

    code, message = refusal(pack(content))

    assert code == f"{name.upper()}_MISMATCH"
    assert message.startswith(f"{kind}[2]: ")
    assert HEX in message


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("objects", "object_id"),
        ("snapshots", "snapshot_id"),
        ("commits", "commit_id"),
        ("commits", "snapshot_id"),
    ],
)
def test_a_bad_id_is_refused_and_named(kind: str, name: str, bad: str) -> None:
    assert refusal(with_item(kind, {name: bad})) == (
        "BAD_ID",
        f"{kind}[0]: {name}: {bad!r} is not an id",
    )


@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_bad_id_in_a_manifest_is_refused_though_its_hash_is_right(bad: str) -> None:
    # Long enough a path that the entry is not already too short to be one.
    path = "p" * 80
    snapshot_id = sha256(f"{path}\0{bad}".encode()).hexdigest()

    assert refusal(
        pack({"snapshots": [{"snapshot_id": snapshot_id, "manifest": {path: bad}}]})
    ) == (
        "BAD_ID",
        f"snapshots[0]: manifest: {bad!r} is not an id",
    )


@pytest.mark.parametrize("bad", BAD_IDS[1:])
@pytest.mark.parametrize("name", ["parent_commit_id", "parent2_commit_id"])
def test_a_bad_parent_is_refused_and_named(name: str, bad: str) -> None:
    assert refusal(with_item("commits", {name: bad})) == (
        "BAD_ID",
        f"commits[0]: {name}: {bad!r} is not an id",
    )


@pytest.mark.parametrize(
    ("kind", "changed", "code"),
    [
        ("commits", {"message": "\0"}, "BAD_TEXT"),
        ("commits", {"author": "a\0"}, "BAD_TEXT"),
        ("commits", {"branch": "\0a"}, "BAD_TEXT"),
        ("commits", {"branch": "b" * 256}, "BAD_TEXT"),
        ("commits", {"metadata": {"a": {"b": ["\0"]}}}, "BAD_TEXT"),
        ("commits", {"committed_at": "2026-03-01T12:00:00"}, "BAD_TIMESTAMP"),
        ("commits", {"committed_at": "0001-01-01T00:00:00+01:00"}, "BAD_TIMESTAMP"),
        ("snapshots", {"created_at": "rubbish"}, "BAD_TIMESTAMP"),
        ("snapshots", {"manifest": {"a\0b": HEX}}, "BAD_TEXT"),
        ("snapshots", {"manifest": {"a": 7}}, "MPACK_MALFORMED"),
        ("commits", {"metadata": []}, "MPACK_MALFORMED"),
    ],
)
def test_what_an_item_says_of_itself_is_checked_and_the_item_named(
    kind: str, changed: dict[str, Any], code: str
) -> None:
    found, message = refusal(with_item(kind, changed))

    assert (found, message.split(": ")[0]) == (code, f"{kind}[0]")


def test_a_backslash_is_no_nul() -> None:
    history = tiny_history(message="\\u0000", author="\\0", metadata={"\\u0000": "\\\\u0000"})

    assert len(read(history.mpack()).commits) == 1


def test_under_the_record_policy_unknown_ids_are_counted_but_not_those_of_objects() -> None:
    history = small_history()
    content = history.content()
    content["commits"][0]["commit_id"] = HEX
    content["commits"][1]["commit_id"] = "sha256:" + "e" * 64
    content["snapshots"][3]["snapshot_id"] = "f" * 64

    inventory = read(pack(content), verify_ids=False)

    assert inventory.unverified_ids == 3
    assert {bytes.fromhex(HEX), b"\xee" * 32} < set(inventory.commits.digests())
    assert b"\xff" * 32 in set(inventory.snapshots.digests())
    content["objects"][0]["object_id"] = HEX
    assert refusal(pack(content | {"commits": [], "snapshots": []}))[0] == "OBJECT_HASH_MISMATCH"


def test_under_the_record_policy_all_the_rest_is_still_checked() -> None:
    for kind, changed in (
        ("commits", {"commit_id": HEX, "message": "\0"}),
        ("commits", {"commit_id": HEX, "snapshot_id": "x"}),
        ("snapshots", {"snapshot_id": HEX, "manifest": {"\0": HEX}}),
        ("snapshots", {"snapshot_id": "x"}),
    ):
        with pytest.raises(Exception, match=r"BAD_(TEXT|ID): "):
            read(with_item(kind, changed), verify_ids=False)


def test_no_more_objects_may_be_named_than_may_be_held() -> None:
    history = small_history()

    assert len(read(history.mpack(), limits=Limits(objects=14)).named_objects) == 14
    content = history.content() | {"objects": []}
    code, message = refusal(pack(content), limits=Limits(objects=13))
    assert (code, message) == (
        "LIMIT_EXCEEDED",
        "snapshots[3]: more than 13 different objects are named",
    )


def test_what_the_repo_holds_is_passed_over_whatever_the_mpack_says_of_it() -> None:
    history = small_history()
    content = history.content()
    commit, snapshot = content["commits"][1], content["snapshots"][2]
    held = frozenset(map(ids.digest_of, (commit["commit_id"], snapshot["snapshot_id"])))
    commit["message"], snapshot["manifest"] = "\0", {"a": "no id"}

    inventory = read(pack(content), held=held)

    passed_over = inventory.held_commits, inventory.held_snapshots
    assert {digest for each in passed_over for digest in each.digests()} == held
    assert len(inventory.commits) == len(inventory.snapshots) == 3
    assert held.isdisjoint(inventory.commits.digests())
    assert held.isdisjoint(inventory.snapshots.digests())
    assert held.isdisjoint(inventory.parents.digests())


def test_the_content_of_an_object_is_verified_also_where_the_repo_holds_it() -> None:
    history = small_history()
    content = history.content()
    content["objects"][5]["content"] = b"another"

    code, message = refusal(pack(content), held=frozenset(map(ids.digest_of, history.objects)))

    assert (code, message.split(": ")[0]) == ("OBJECT_HASH_MISMATCH", "objects[5]")


def test_the_number_of_an_item_counts_those_that_are_passed_over() -> None:
    history = small_history()
    content = history.content()
    held = frozenset(ids.digest_of(content["commits"][n]["commit_id"]) for n in range(2))
    content["commits"][3]["message"] = "another"

    code, message = refusal(pack(content), held=held)

    assert (code, message.split(": ")[0]) == ("COMMIT_ID_MISMATCH", "commits[3]")


def test_items_are_checked_in_chunks_without_losing_count() -> None:
    history = History()
    for number in range(4_500):
        history.commit({"a": b"a"}, message=str(number))
    content = history.content()

    inventory = read(pack(content))

    assert set(inventory.commits.digests()) == set(map(ids.digest_of, history.commits))
    content["commits"][4_321]["message"] = "another"
    code, message = refusal(pack(content))
    assert (code, message.split(": ")[0]) == ("COMMIT_ID_MISMATCH", "commits[4321]")


def test_of_the_objects_those_are_missing_that_are_not_stored_in_their_size() -> None:
    history = History()
    stored, resized, new = (history.add_object(content) for content in (b"a", b"aa", b"b"))
    known = frozenset(map(ids.digest_of, (stored, resized)))

    inventory = read(history.mpack(), held=known)

    assert [ids.id_of(d) for d in inventory.objects.digests()] == [stored, resized, new]
    missing, unheld = (inventory.objects.marked(mark) for mark in (MISSING, UNHELD))
    assert [ids.id_of(d) for d in missing.digests()] == [resized, new]
    assert [ids.id_of(d) for d in unheld.digests()] == [new]
