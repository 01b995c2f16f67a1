"""What ops say in their metadata: how much they did, and how each job of a batch fared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.report import JOB_COLUMNS, MAX_ROWS, PHASE_COLUMNS, Row, job_rows

Metadata = dict[str, dg.MetadataValue | int | float]


def batch_metadata(batch: Batch, seconds: float, *, before: Batch | None = None) -> Metadata:
    """Return what an op did to a batch, for the UI: jobs, bytes, and the rows it counted."""
    live = batch.live
    size_bytes = sum(item.size_bytes or 0 for item in live)
    counted = _counts(before.items) if before else {}
    rows = {name: count for name, count in _counts(live).items() if name not in counted}
    return {
        "jobs": len(batch.items),
        "jobs_stopped": len(batch.items) - len(live),
        "mpack_bytes": size_bytes,
        "mb_per_second": round(size_bytes / 1e6 / seconds, 3) if seconds else 0.0,
        **rows,
    }


def _counts(items: tuple[Item, ...]) -> Counter[str]:
    total: Counter[str] = Counter()
    for item in items:
        total.update(item.counts)
    return total


def jobs_metadata(batch: Batch) -> Metadata:
    """Return tables of a run's jobs, what became of them first, and how many rows were left out."""
    rows = job_rows(batch)
    metadata: Metadata = {
        "batch": table(rows[:MAX_ROWS], JOB_COLUMNS),
        "phases": table(rows[:MAX_ROWS], PHASE_COLUMNS),
        "done": len(batch.results),
        "not_done": len(rows) - len(batch.results),
    }
    if len(rows) > MAX_ROWS:
        metadata["left_out_of_batch"] = len(rows) - MAX_ROWS
    return metadata


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    """Return some columns of rows as a table; `columns` are the types by name."""
    schema = dg.TableSchema([dg.TableColumn(name, type=kind) for name, kind in columns.items()])
    records = [dg.TableRecord({name: row[name] for name in columns}) for row in rows]
    return dg.MetadataValue.table(records, schema)


def column_schema(table: sa.Table) -> dg.TableSchema:
    """Return the columns of a table of the database."""
    return dg.TableSchema([_column(column, key=table.primary_key) for column in table.columns])


def _column(column: sa.Column[Any], *, key: sa.PrimaryKeyConstraint) -> dg.TableColumn:
    return dg.TableColumn(
        column.name,
        type=column.type.compile(postgresql.dialect()).lower(),
        description=column.doc,
        constraints=dg.TableColumnConstraints(
            nullable=bool(column.nullable),
            unique=list(key.columns) == [column],
            other=["primary key"] if column.primary_key else [],
        ),
    )
