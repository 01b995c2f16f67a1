"""What fsck finds of commits, snapshots, manifests, objects and heads, each broken on purpose."""

import pytest

from musehub_pipeline_tests.audit.checking import (
    COMMITS,
    NEW_ID,
    NOWHERE,
    OBJECTS,
    REFS,
    SNAPSHOTS,
    World,
    found,
    supplied,
)


def test_a_commit_that_is_gone_is_missed_by_its_child_and_its_mpack(world: World) -> None:
    world.sql("DELETE FROM musehub_commits WHERE repo_id = %(song)s AND commit_id = %(last)s")

    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.song, "commit_id": world.tip},
            f"its parent {world.last} is not in the repo",
        ),
        supplied(COMMITS, world.full, repo_id=world.song, commit_id=world.last),
    ]


@pytest.mark.parametrize("parent_ids", ["{}", "null", '"text"', "[null]"])
def test_parents_that_are_none_are_found(world: World, parent_ids: str) -> None:
    world.sql(f"UPDATE musehub_commits SET parent_ids = '{parent_ids}' WHERE commit_id = %(tip)s")

    said = parent_ids.strip('[]"')
    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.song, "commit_id": world.tip},
            f"its parent {said} is not in the repo",
        )
    ]


def test_a_snapshot_that_is_gone_is_missed_by_its_mpack_and_its_commit(world: World) -> None:
    world.sql("DELETE FROM musehub_snapshots WHERE snapshot_id = %(tip_snapshot)s")

    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.song, "commit_id": world.tip},
            f"its snapshot {world.tip_snapshot} is not in the repo",
        ),
        supplied(SNAPSHOTS, world.thin, repo_id=world.song, snapshot_id=world.tip_snapshot),
    ]


def test_what_another_repo_holds_does_not_count(world: World) -> None:
    world.sql(
        "DELETE FROM musehub_snapshots"
        " WHERE repo_id = %(fork)s AND snapshot_id = %(first_snapshot)s"
    )
    job_id = world.hub.sql(
        "SELECT job_id FROM musehub_background_jobs WHERE repo_id = %(r)s", {"r": world.fork}
    )[0]["job_id"]

    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.fork, "commit_id": world.first},
            f"its snapshot {world.first_snapshot} is not in the repo",
        ),
        supplied(SNAPSHOTS, job_id, repo_id=world.fork, snapshot_id=world.first_snapshot),
    ]


@pytest.mark.parametrize(
    ("gone", "lack"),
    [
        ([OBJECTS], "no object row"),
        ([REFS], "no ref in the repo"),
        ([OBJECTS, REFS], "no object row and no ref in the repo"),
    ],
)
def test_an_object_without_its_row_or_ref_is_missed_by_its_mpack_and_its_manifest(
    world: World, gone: list[str], lack: str
) -> None:
    for table in gone:
        world.sql(f"DELETE FROM {table} WHERE object_id = %(new)s")

    keys = {OBJECTS: {}, REFS: {"repo_id": world.song}}
    assert found(world.hub) == [
        (
            "manifest_complete",
            SNAPSHOTS,
            {"repo_id": world.song, "snapshot_id": world.tip_snapshot},
            f"its manifest names {NEW_ID}, which has {lack}",
        ),
        *(supplied(table, world.thin, **keys[table], object_id=NEW_ID) for table in gone),
    ]


@pytest.mark.parametrize(
    ("manifest", "named", "lack"),
    [
        (f'{{"a": "{NEW_ID}"}}', NEW_ID, "no ref in the repo"),
        (f'{{"a": "{NOWHERE}"}}', NOWHERE, "no object row and no ref in the repo"),
        ('{"a": null}', "null", "no object row and no ref in the repo"),
        ("[]", "[]", "no object row and no ref in the repo"),
    ],
)
def test_a_manifest_that_names_what_its_repo_does_not_hold_is_found(
    world: World, manifest: str, named: str, lack: str
) -> None:
    world.sql(
        f"UPDATE musehub_snapshots SET manifest = '{manifest}'"
        " WHERE repo_id = %(fork)s AND snapshot_id = %(first_snapshot)s"
    )

    assert found(world.hub) == [
        (
            "manifest_complete",
            SNAPSHOTS,
            {"repo_id": world.fork, "snapshot_id": world.first_snapshot},
            f"its manifest names {named}, which has {lack}",
        )
    ]


def test_a_row_that_is_there_twice_is_found(world: World) -> None:
    world.sql("ALTER TABLE musehub_commits DROP CONSTRAINT musehub_commits_pkey")
    world.sql("INSERT INTO musehub_commits SELECT * FROM musehub_commits WHERE commit_id = %(tip)s")

    assert found(world.hub) == [
        supplied(COMMITS, world.thin, rows=2, repo_id=world.song, commit_id=world.tip)
    ]


def test_a_head_that_is_no_commit_of_its_repo_is_found(world: World) -> None:
    world.sql(
        "INSERT INTO musehub_branches VALUES (%(fork)s, 'stolen', %(tip)s),"
        " (%(fork)s, 'empty', ''), (%(fork)s, 'none', NULL)"
    )

    assert found(world.hub) == [
        (
            "head_exists",
            "musehub_branches",
            {"repo_id": world.fork, "name": "stolen"},
            f"its head {world.tip} is no commit of the repo",
        )
    ]
