"""Commits with much to say: honest ones are indexed, and hostile ones within bounds."""

import os
import subprocess
import sys
from typing import Any

import pytest

from musehub_pipeline import JobFailed
from musehub_pipeline.domain.commit_meta import MAX_VALUES
from musehub_pipeline.domain.limits import MAX_GROWTH, Limits
from musehub_pipeline_tests.benchmarks.hostile_mpacks import many_keys
from musehub_pipeline_tests.domain.reading import array, mapping, tiny_history
from musehub_pipeline_tests.factories import History, pack
from musehub_pipeline_tests.hub import Hub

# A run, in a process of its own, which says in the end how large it became.
_PROGRAM = """
import sys
from musehub_pipeline import process_mpack_index_job
from musehub_pipeline_tests.peak import peak_bytes
process_mpack_index_job(sys.argv[1])
print(peak_bytes())
"""
_MEBIBYTE = 1 << 20


def added_file(number: int) -> dict[str, Any]:
    """Return what a client says of one new Python file: each symbol, and what is in it."""
    path = f"src/package_{number % 21}/module_{number}.py"
    symbols = [
        {
            "op": "insert",
            "address": f"{path}::Class{number}.method_{n}",
            "position": None,
            "content_id": f"{number * 100 + n:064x}",
            "content_summary": f"added function method_{n} with “{n}” lines",
            "line_range": [n * 7, n * 7 + 6],
            "confidence": n / 7,
        }
        for n in range(29)
    ]
    return {
        "op": "patch",
        "address": path,
        "child_domain": "code_symbols",
        "child_summary": f"{len(symbols)} symbols added",
        "child_ops": symbols,
    }


def with_fields(history: History, *fields: dict[str, bytes]) -> bytes:
    """Return the mpack of some commits, each with fields that are packed already."""
    content = history.content()
    commits = [
        mapping({name: pack(value) for name, value in commit.items()} | more)
        for commit, more in zip(content["commits"], fields, strict=True)
    ]
    lists = {kind: pack(content[kind]) for kind in ("objects", "snapshots")}
    return mapping(lists | {"commits": array(len(commits), b"".join(commits))})


def text(character: str, size: int) -> bytes:
    """Return a packed text of so many bytes."""
    return b"\xdb" + size.to_bytes(4) + character.encode() * (size // len(character.encode()))


def at_the_edge(limits: Limits) -> dict[str, bytes]:
    """Return fields with as many values, and as much JSON, as a commit may have."""
    count = MAX_VALUES - 9  # and eight texts, and the metadata
    left = limits.commit_bytes - len("{}") - 2 * count - 1 - len('["",]') - 7 * len('"",')
    sizes = [left // 8] * 7 + [left - left // 8 * 7]
    return {
        "structured_delta": array(count, b"\x01" * count),
        "breaking_changes": array(8, b"".join(text("x", size) for size in sizes)),
    }


def meta(hub: Hub) -> dict[str, Any]:
    [row] = hub.sql("SELECT commit_meta FROM musehub_commits")
    return row["commit_meta"]


def test_a_commit_that_adds_672_files_is_indexed_with_all_that_is_said_of_them(hub: Hub) -> None:
    delta = {"domain": "code", "ops": [added_file(n) for n in range(672)], "summary": "new"}
    said = {"structured_delta": delta, "sem_ver_bump": "minor", "metadata": {"by": "an agent"}}
    history = tiny_history(**said)
    mpack = history.mpack()
    assert len(mpack) > 4_900_000

    result = hub.index(hub.push(hub.create_repo(), mpack))

    assert result["commits_inserted"] == 1
    assert meta(hub) == said


def test_what_is_just_within_the_limits_is_stored_and_no_more(hub: Hub) -> None:
    history = tiny_history()
    fields = at_the_edge(hub.settings.limits)
    assert len(with_fields(history, fields)) < hub.settings.max_commit_bytes

    hub.index(hub.push(hub.create_repo(), with_fields(history, fields)))

    [stored] = hub.sql(
        "SELECT jsonb_array_length(commit_meta -> 'structured_delta') AS values,"
        " length(commit_meta ->> 'breaking_changes') AS characters FROM musehub_commits"
    )
    header = 5  # bytes, of each list and text; in PostgreSQL's JSON it takes `"", ` and `[]`
    assert stored == {
        "values": len(fields["structured_delta"]) - header,
        "characters": len(fields["breaking_changes"]) - 9 * header + 8 * 4,
    }
    more = with_fields(history, fields | {"agent_id": pack("")})
    with pytest.raises(JobFailed) as failure:
        hub.index(hub.push(hub.create_repo("other"), more))
    assert (failure.value.code, failure.value.message) == (
        "LIMIT_EXCEEDED",
        f"commits[0]: more than {hub.settings.max_commit_bytes} bytes as JSON - at `$.agent_id`",
    )


def test_a_run_takes_less_than_half_a_gigabyte_whatever_commits_it_meets(hub: Hub) -> None:
    size = hub.settings.max_text_bytes
    music = "🎵" * (size // 4)  # four bytes a character, in a mpack and in memory
    history = History()
    for said in (music, music, "plain", music, "keys"):  # the other way round than they are packed
        parent = list(history.commits)[-1:]
        history.commit({"a": b"a"}, parents=parent, message=said, author=said)
    each = (
        hub.settings.max_commit_bytes // 7 // 8
    )  # and two thirds of it plain, else it grows too much
    controls = array(16, (text("\x01", each) + text("x", each * 2 // 3 + 10)) * 8)
    mpack = with_fields(
        history,
        many_keys(hub.settings.limits),
        {"structured_delta": controls},
        at_the_edge(hub.settings.limits),
        {"structured_delta": array(5, text("🎵", size) * 5)},
        {"structured_delta": controls},
    )
    job_id = hub.push(hub.create_repo(), mpack)

    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, job_id],
        env=os.environ
        | {
            "MUSEHUB_DATABASE_URL": str(hub.settings.database_url),
            "MUSEHUB_STORAGE_URL": str(hub.settings.storage_url),
            "MUSEHUB_HOME": str(hub.settings.home),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert hub.counts()["commits"] == 5
    assert int(done.stdout) < 512 * _MEBIBYTE


def test_what_is_judged_of_what_a_reader_gets_back_is_what_postgresql_gives(hub: Hub) -> None:
    numbers = (5e-324, -2.5e-7, 1.7976931348623157e308, -1e16, 1.7000000000000001e18, 0.1, 123.0)
    others = (None, True, False, 2**64 - 1, -(2**63), '\x01\n"\\/é', {}, [], {"": []}, [{}, 1])
    history = tiny_history(structured_delta=[*numbers, *others] * 50, agent_id="\x7f")
    [commit] = history.commits.values()
    fields = {name: pack(value) for name, value in commit.items()}

    def push(slug: str, padding: int) -> None:
        mpack = with_fields(history, {"future": text("x", padding)})
        hub.index(hub.push(hub.create_repo(slug), mpack))

    push("large", 1 << 20)
    [row] = hub.sql("SELECT octet_length(commit_meta::text) AS back FROM musehub_commits")
    least = -(-row["back"] // MAX_GROWTH) - len(mapping(fields | {"future": text("x", 0)}))
    push("enough", least)
    with pytest.raises(JobFailed) as failure:
        push("less", least - 1)
    assert failure.value.code == "LIMIT_EXCEEDED"
