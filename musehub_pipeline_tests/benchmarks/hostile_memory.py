"""The memory of a run that meets the worst that the limits allow.

As a module it is the run: ``python -m musehub_pipeline_tests.benchmarks.hostile_memory`` indexes a
batch through Dagster, with the settings of the environment, and prints its peak in bytes.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, cycle, repeat
from pathlib import Path
from time import perf_counter
from typing import Literal

from musehub_pipeline import local
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.orchestration.instance import dagster_instance
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.benchmarks.bench import Bench, upload
from musehub_pipeline_tests.benchmarks.figures import MIB, Figure, Pair, share
from musehub_pipeline_tests.benchmarks.hostile_mpacks import (
    Items,
    both,
    large_commit,
    large_objects,
    large_snapshot,
    many_keys,
    nested_maps,
    small_commits,
    small_objects,
    small_snapshots,
    snapshot_hexes,
    wide_message,
    wide_texts,
    write,
)
from musehub_pipeline_tests.benchmarks.mpacks import Mpack, mixed
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.peak import peak_bytes

_MOST_MIB = 512
_LARGE_OBJECTS = 48
_SIZE_OF_LARGE = 20 << 20
_WIDE_PATH = "🎵" + "x" * 60  # each character takes four bytes in memory
_GROWING_PATH = "\x01" * 15  # six times as long in JSON: the manifest is twice as long, with ids
_NAMED_A_SNAPSHOT = 40_000  # below what is gone over in portions


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Mpacks that are pushed at the same time, and where to."""

    mpacks: list[Mpack]
    what: str
    storage: Literal["directory", "s3", "none"] = "directory"  # none: it takes no objects
    one_repo: bool = False
    held: int = 0  # small objects that the repo holds


Shape = Callable[["Maker"], Batch]


class Maker:
    """Makes mpacks in a folder, for some limits."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.limits = limits
        self._folder = folder
        self._made = 0

    def write(self, **lists: Items) -> Mpack:
        """Write an mpack of some lists."""
        self._made += 1
        return write(self._folder / f"{self._made}.mpack", **lists)


def objects(make: Maker) -> Batch:
    """As many objects as there may be, and named, as a client pushes them.

    The storage takes none of them: that would take minutes.
    """
    count = make.limits.objects
    mpack = make.write(
        objects=small_objects(count), snapshots=small_snapshots(count // _NAMED_A_SNAPSHOT, count)
    )
    return Batch(mpacks=[mpack], what=f"{count:,} objects, all named", storage="none")


def two_of_objects(make: Maker) -> Batch:
    """As many objects in two mpacks as there may be in a batch, about."""
    each = make.limits.objects * 19 // 40
    mpacks = [make.write(objects=small_objects(each, first=first)) for first in (0, each)]
    return Batch(mpacks=mpacks, what=f"two of {each:,} objects", storage="none")


def named(make: Maker) -> Batch:
    """As many objects named as there may be, of which none is held."""
    count = make.limits.objects
    snapshots = small_snapshots(count // _NAMED_A_SNAPSHOT, count)
    what = f"{count:,} objects named, none held"
    return Batch(mpacks=[make.write(snapshots=snapshots)], what=what)


def snapshots(make: Maker) -> Batch:
    """As many snapshots as there may be."""
    count = make.limits.snapshots
    mpack = make.write(snapshots=small_snapshots(count, 1), objects=small_objects(1))
    return Batch(mpacks=[mpack], what=f"{count:,} snapshots")


def commits(make: Maker) -> Batch:
    """As many commits as there may be, each with two parents."""
    mpack = _of_commits(make, 0)
    return Batch(mpacks=[mpack], what=f"{mpack.commits:,} commits")


def commits_of_a_repo(make: Maker) -> Batch:
    """Mpacks of commits, each as many as there may be, on which later ones of the repo may lean."""
    mpacks = [_of_commits(make, number) for number in range(3)]
    what = f"three of {mpacks[0].commits:,} commits, of one repository"
    return Batch(mpacks=mpacks, what=what, one_repo=True)


def manifest(make: Maker) -> Batch:
    """The largest manifest, of short paths."""
    return _one_manifest(make, "", "of short paths")


def manifest_wide(make: Maker) -> Batch:
    """The largest manifest, of paths with a character beyond the BMP."""
    return _one_manifest(make, _WIDE_PATH, "of paths beyond the BMP")


def manifest_growing(make: Maker) -> Batch:
    """The largest manifest, of which no larger JSON is allowed."""
    return _one_manifest(make, _GROWING_PATH, "whose JSON is twice as long")


def commit_of_maps(make: Maker) -> Batch:
    """The largest commit, of nested maps and texts."""
    return _one_commit(make, nested_maps(make.limits), "of nested maps and texts")


def commit_of_keys(make: Maker) -> Batch:
    """The largest commit, that is one map of as many keys as there may be."""
    return _one_commit(make, many_keys(make.limits), "of a million keys")


def commit_wide(make: Maker) -> Batch:
    """The largest commit, of texts that take four times as much in memory."""
    text = wide_message(make.limits)
    most = make.limits.commit_bytes // make.limits.text_bytes - 3
    said = wide_texts(make.limits, most)
    return _one_commit(make, said, "of wide texts", message=text, author=text)


def large_on_s3(make: Maker) -> Batch:
    """Objects that are uploaded in parts, of which many threads have several in memory."""
    mpack = make.write(objects=large_objects(_LARGE_OBJECTS, _SIZE_OF_LARGE))
    what = f"{_LARGE_OBJECTS} objects of {_SIZE_OF_LARGE // MIB} MiB, to S3"
    return Batch(mpacks=[mpack], what=what, storage="s3")


def several(make: Maker) -> Batch:
    """A batch of several, each at another limit."""
    mpacks = [
        *commits(make).mpacks,
        *snapshots(make).mpacks,
        *manifest_growing(make).mpacks,
        *commit_wide(make).mpacks,
    ]
    return Batch(mpacks=mpacks, what="a batch of four, each at another limit")


def everything(make: Maker) -> Batch:
    """All limits at once, which is more than a run may know of."""
    mpack = _mixed(make, make.limits, large=True)
    return Batch(mpacks=[mpack], what="all limits at once")


def most_items(make: Maker) -> Batch:
    """About as many items of all kinds as a run may know of."""
    limits = replace(make.limits, commits=make.limits.commits // 2)
    mpack = _mixed(make, limits, named=limits.objects // 4)
    what = f"{mpack.objects:,} objects, {mpack.snapshots:,} snapshots, {mpack.commits:,} commits"
    return Batch(mpacks=[mpack], what=what, storage="none")


def most_beside_large(make: Maker) -> Batch:
    """About as many items as a run may know of, with the largest snapshot and commit behind."""
    some, few = make.limits.objects // 4, make.limits.commits // 16
    limits = replace(make.limits, objects=some, snapshots=few, commits=few)
    mpack = _mixed(make, limits, large=True)
    what = f"{some:,} objects, as many named, and the largest manifest and commit"
    return Batch(mpacks=[mpack], what=what, held=some)


def _mixed(make: Maker, limits: Limits, *, named: int | None = None, large: bool = False) -> Mpack:
    """Write an mpack with as much of all kinds as some limits allow."""
    named = limits.objects if named is None else named
    snapshots, commits = limits.snapshots - 1, limits.commits - 1
    lists = {
        "objects": small_objects(limits.objects),
        "snapshots": small_snapshots(snapshots, named),
        "commits": small_commits(snapshot_hexes(snapshots, named), commits),
    }
    if large:
        text = wide_message(limits)
        said = wide_texts(limits, limits.commit_bytes // limits.text_bytes - 2)
        manifest = large_snapshot(limits, beside=_GROWING_PATH, named=named)
        commit = large_commit(next(snapshot_hexes(snapshots, named)), said, message=text)
        lists["snapshots"] = both(lists["snapshots"], manifest)
        lists["commits"] = both(lists["commits"], commit)
    return make.write(**lists)


def _of_commits(make: Maker, number: int) -> Mpack:
    count = make.limits.commits
    snapshot_ids = chain.from_iterable(repeat(list(snapshot_hexes(1, 1)), count))
    return make.write(
        objects=small_objects(1),
        snapshots=small_snapshots(1, 1),
        commits=small_commits(snapshot_ids, count, message=f"of {number}"),
    )


def _one_manifest(make: Maker, beside: str, of_what: str) -> Batch:
    mpack = make.write(
        objects=small_objects(1), snapshots=large_snapshot(make.limits, beside=beside)
    )
    what = f"a manifest of {make.limits.snapshot_bytes // MIB} MiB, {of_what}"
    return Batch(mpacks=[mpack], what=what)


def _one_commit(
    make: Maker, said: dict[str, bytes], of_what: str, *, message: str = "", author: str = ""
) -> Batch:
    [snapshot_id] = snapshot_hexes(1, 1)
    mpack = make.write(
        objects=small_objects(1),
        snapshots=small_snapshots(1, 1),
        commits=large_commit(snapshot_id, said, message=message, author=author),
    )
    what = f"a commit of {make.limits.commit_bytes // MIB} MiB, {of_what}"
    return Batch(mpacks=[mpack], what=what)


SHAPES: tuple[Shape, ...] = (
    objects,
    two_of_objects,
    named,
    snapshots,
    commits,
    commits_of_a_repo,
    manifest,
    manifest_wide,
    manifest_growing,
    commit_of_maps,
    commit_of_keys,
    commit_wide,
    large_on_s3,
    several,
    most_items,
    most_beside_large,
    everything,
)


def hostile_memory(bench: Bench, shapes: Iterable[Shape] = SHAPES) -> Iterator[Figure]:
    """Compare the peak of a run at each limit with that of a small push, and with what it may be.

    Where the benchmarks are to be quick, the limits of counts are a tenth, for the run as well.
    """
    limits = Limits()
    limits = replace(
        limits,
        objects=bench.some(limits.objects),
        snapshots=bench.some(limits.snapshots),
        commits=bench.some(limits.commits),
    )
    small = Batch(mpacks=[bench.mpack(mixed(1))], what="a small push")
    small_mib, _ = _index(bench, small, limits)
    for shape in shapes:
        started = perf_counter()
        batch = shape(Maker(bench.new_folder("made"), limits))
        made = perf_counter()
        mib, outcome = _index(bench, batch, limits)
        indexed = perf_counter()
        for mpack in batch.mpacks:
            mpack.path.unlink()
        yield share(
            f"hostile_{shape.__name__}",
            f"{batch.what}; of {_MOST_MIB} MiB, beside {small.what}",
            [Pair(mib, small_mib)],
            unit="MiB",
            of=_MOST_MIB,
            note=f"{outcome}; made in {made - started:.0f} s, indexed in {indexed - made:.0f} s",
        )


def _index(bench: Bench, batch: Batch, limits: Limits) -> tuple[float, str]:
    """Return the peak of a run that indexes a batch, in MiB, and what became of its jobs."""
    on_s3 = batch.storage == "s3"
    with bench.database() as database_url:
        s3 = bench.s3 if on_s3 else None
        settings = bench.settings(database_url, s3=s3)
        hub = Hub(settings)
        repos = [hub.create_repo(str(n)) for n in range(1 if batch.one_repo else len(batch.mpacks))]
        for mpack, repo_id in zip(batch.mpacks, cycle(repos), strict=False):
            upload(settings, s3, mpack)
            hub.enqueue(repo_id, mpack_key=mpack.key)
        if batch.storage == "none":
            (Path(str(settings.storage_url).removeprefix("file://")) / "objects").touch()
        _hold(hub, batch.held)
        environment = {
            **{name: text for name, text in os.environ.items() if name != "DAGSTER_HOME"},
            **(s3.aws_environment() if s3 is not None else {}),
            "MUSEHUB_DATABASE_URL": database_url,
            "MUSEHUB_STORAGE_URL": str(settings.storage_url),
            "MUSEHUB_SCRATCH_DIR": str(settings.scratch_dir),
            "MUSEHUB_MAX_OBJECTS": str(limits.objects),
            "MUSEHUB_MAX_SNAPSHOTS": str(limits.snapshots),
            "MUSEHUB_MAX_COMMITS": str(limits.commits),
        }
        command = [sys.executable, "-m", __name__]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return int(done.stdout) / MIB, _outcome(hub)


def _hold(hub: Hub, objects: int) -> None:
    """Have the first repo hold small objects, by their rows alone."""
    hub.sql(
        "INSERT INTO musehub_objects (object_id, size_bytes, storage_uri, created_at)"
        " SELECT 'sha256:' || encode(sha256(int8send(n)), 'hex'), 8, '', now()"
        " FROM generate_series(0, %(objects)s - 1) AS n",
        {"objects": objects},
    )
    hub.sql(
        "INSERT INTO musehub_object_refs (repo_id, object_id, created_at)"
        " SELECT 'repo-0', object_id, now() FROM musehub_objects"
    )


def _outcome(hub: Hub) -> str:
    rows = hub.sql("SELECT status, error_code FROM musehub_background_jobs")
    ends = Counter(f"{row['status']} {row['error_code'] or ''}".strip() for row in rows)
    return ", ".join(f"{count} {end}" for end, count in ends.items())


if __name__ == "__main__":
    with dagster_instance() as opened:
        Runner(local.resolve(Settings.load()), opened).run()
    print(peak_bytes())
