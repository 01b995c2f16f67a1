from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack

from musehub_pipeline.domain import ids
from musehub_pipeline_tests.benchmarks.mpacks import BRANCH, Mpack, Shape, mixed, write_mpack

WHOLE = Shape(objects=100, commits=100, snapshots=60)
FIRST_HALF = Shape(objects=50, commits=50, snapshots=30)
SECOND_HALF = Shape(objects=100, commits=100, snapshots=60, held=50)


def written(folder: Path, shape: Shape) -> tuple[Mpack, dict[str, Any]]:
    mpack = write_mpack(folder / "mpack", shape)
    return mpack, msgpack.unpackb(mpack.path.read_bytes())


def test_the_same_shape_gives_the_same_bytes(tmp_path: Path) -> None:
    once, _ = written(tmp_path, WHOLE)
    again, _ = written(tmp_path, WHOLE)

    assert once == again


def test_it_holds_what_its_shape_says_and_no_id_twice(tmp_path: Path) -> None:
    mpack, packed = written(tmp_path, WHOLE)

    for kind, number in (("object", 100), ("commit", 100), ("snapshot", 60)):
        items = {item[f"{kind}_id"] for item in packed[f"{kind}s"]}
        assert len(items) == len(packed[f"{kind}s"]) == number
    assert packed["branch_heads"] == {BRANCH: mpack.head}
    assert packed["commits"][0]["commit_id"] == mpack.head


def test_ids_are_what_they_hash(tmp_path: Path) -> None:
    _, packed = written(tmp_path, WHOLE)

    for item in packed["objects"]:
        assert ids.stored(item["object_id"]) == ids.object_id(item["content"])
    for item in packed["snapshots"]:
        assert item["snapshot_id"] == ids.snapshot_hex(item["manifest"])


def test_a_thin_one_leans_on_what_came_before(tmp_path: Path) -> None:
    _, before = written(tmp_path, FIRST_HALF)
    _, thin = written(tmp_path, SECOND_HALF)
    _, whole = written(tmp_path, WHOLE)

    for kind in ("object", "snapshot", "commit"):
        held, new, everything = (
            {item[f"{kind}_id"] for item in packed[f"{kind}s"]} for packed in (before, thin, whole)
        )
        assert held < everything
        assert not held & new
        assert held | new == everything


def test_ten_times_the_megabytes_are_ten_times_the_bytes(tmp_path: Path) -> None:
    small, _ = written(tmp_path, mixed(5))
    large, _ = written(tmp_path, mixed(50))

    assert 9.5 < large.size_bytes / small.size_bytes < 10.5


def test_its_snapshots_may_come_in_order_of_their_ids_and_messages_be_long(tmp_path: Path) -> None:
    shape = replace(WHOLE, snapshots_by_id=True, message_bytes=1_000)

    _, packed = written(tmp_path, shape)

    snapshot_ids = [snapshot["snapshot_id"] for snapshot in packed["snapshots"]]
    assert snapshot_ids == sorted(snapshot_ids)
    assert all(len(commit["message"]) >= 999 for commit in packed["commits"])
    assert len({commit["commit_id"] for commit in packed["commits"]}) == 100
