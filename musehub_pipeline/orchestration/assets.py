"""The assets: mpacks in storage, the tables that are made of them, and the index as a whole.

Each depends on what its rows name: leaves before roots. Every run of `index_mpacks` that worked on
a job says of all tables what it wrote, be it nothing: as many events whatever the batch. They are
stored together, by `records.py`; one by one they took longer than many a push. How many rows there
are is what PostgreSQL's catalogue knows: to count them would take as long as there are rows.
"""

from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Any

import dagster as dg
import sqlalchemy as sa

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.index.index import Index
from musehub_pipeline.orchestration.metadata import column_schema, table
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.report import (
    FIGURE_COLUMNS,
    figure_rows,
    figures,
    has_ended_a_job,
    written,
)
from musehub_pipeline.postgres import schema

FIGURES = "figures"
"""Where a materialization of `MPACK_INDEX` has the table of `figure_rows`."""

_PAGE = "docs/lineage.md"
_TABLE_NAME = "dagster/table_name"


def _asset(
    name: str,
    description: str,
    *,
    after: dg.AssetSpec | None = None,
    kinds: Collection[str] = ("postgres",),
    **metadata: Any,
) -> dg.AssetSpec:
    # Where the page lies on the web, or on the reader's disk, nobody has told: it is named as the
    # repository names it.
    docs = {"docs": dg.MetadataValue.path(f"{_PAGE}#{name}")}
    return dg.AssetSpec(
        ["musehub", name],
        description=description,
        deps=[after.key] if after else [],
        metadata=docs | metadata,
        group_name="musehub",
        kinds=set(kinds),
        tags={"musehub/job_type": "mpack.index"},
    )


def _table(table: sa.Table, description: str, *, after: dg.AssetSpec) -> dg.AssetSpec:
    about = {
        _TABLE_NAME: table.name,
        "dagster/storage_kind": "postgres",
        "dagster/column_schema": column_schema(table),
    }
    name = table.name.removeprefix("musehub_")
    return _asset(name, description, after=after, **about)


MPACKS = _asset(
    "mpacks",
    "What clients push: new commits, snapshots and objects in one file, in object storage under its"
    " sha256. Clients write them, and runs only read them.",
    kinds=(),
)
OBJECTS = _table(
    schema.objects,
    "Versions of files: their bytes, each once, in object storage, and a row for each.",
    after=MPACKS,
)
OBJECT_REFS = _table(
    schema.object_refs,
    "Which repository holds which object: it has supplied the bytes itself.",
    after=OBJECTS,
)
SNAPSHOTS = _table(
    schema.snapshots,
    "All files of a repository at one time. It holds every object that is named.",
    after=OBJECT_REFS,
)
COMMITS = _table(
    schema.commits,
    "The history of each repository. It holds the snapshot and the parents of every commit.",
    after=SNAPSHOTS,
)
BRANCHES = _table(
    schema.branches,
    "Where each branch stands. Its head moves last of all, when everything under it is durable.",
    after=COMMITS,
)
MPACK_INDEX = _asset(
    "mpack_index",
    "The index of pushed mpacks as a whole, of object bytes and all tables. A run of index_mpacks"
    " that ended any job, as done or failed, adds one materialization. It plots the longest wait,"
    " elapsed times, how many jobs failed, MB/s and the median of each phase; the table `figures`"
    " has the rest. Runs of backfill_mpacks add none: the figures are those of live pushes.",
    after=BRANCHES,
)

_IN_STORAGE = {MPACKS.key, OBJECTS.key, MPACK_INDEX.key}
_TABLES = (
    (OBJECTS, "objects_inserted"),
    (OBJECT_REFS, "object_refs_inserted"),
    (SNAPSHOTS, "snapshots_inserted"),
    (COMMITS, "commits_inserted"),
    (BRANCHES, "heads_moved"),
)


def assets(
    *, storage_kind: str, owners: Sequence[str], tags: Mapping[str, str]
) -> list[dg.AssetSpec]:
    """Return all assets; `storage_kind` is what keeps bytes."""
    return [
        spec.merge_attributes(
            owners=owners, tags=tags, kinds={storage_kind} if spec.key in _IN_STORAGE else set()
        )
        for spec in (MPACKS, *(rows for rows, _ in _TABLES), MPACK_INDEX)
    ]


def materialize(context: dg.OpExecutionContext, batch: Batch, index: Index) -> None:
    """Log what a run wrote, and how its jobs fared, for the pages of the assets: an event each."""
    if not batch.items:
        return
    seconds = monotonic() - batch.items[0].claimed_at
    counts, rows = written(batch), _rows(index)
    for spec, counted in _TABLES:
        known = rows.get(spec.metadata[_TABLE_NAME])
        metadata = {counted: counts[counted]}
        if known is not None:
            metadata["dagster/row_count"] = known
        context.log_event(dg.AssetMaterialization(spec.key, metadata=metadata))
    if has_ended_a_job(batch):
        metadata = {**figures(batch, seconds), FIGURES: table(figure_rows(batch), FIGURE_COLUMNS)}
        context.log_event(dg.AssetMaterialization(MPACK_INDEX.key, metadata=metadata))


def _rows(index: Index) -> dict[str, int]:
    """Return about how many rows each table has; the jobs are done, and this is worth no wait."""
    try:
        return index.estimated_rows([spec.metadata[_TABLE_NAME] for spec, _ in _TABLES])
    except Transient:
        return {}
