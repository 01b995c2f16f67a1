"""Bring a database that may already hold hub tables to what the pipeline needs, destroying nothing.

What is missing is added. What is there and cannot work, another key or another type, is listed with
the SQL that would reconcile it; then nothing at all is changed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    DateTime,
    Enum,
    Inspector,
    MetaData,
    Table,
    inspect,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import (
    ReflectedColumn,
    ReflectedIndex,
    ReflectedPrimaryKeyConstraint,
    ReflectedUniqueConstraint,
)
from sqlalchemy.schema import AddConstraint, CreateColumn, CreateIndex, UniqueConstraint
from sqlalchemy.types import TypeEngine

from musehub_pipeline.domain.errors import SchemaMismatch
from musehub_pipeline.postgres.schema import LONGEST

# What may stand in for a type without any statement noticing.
_COMPATIBLE = {
    "TEXT": {"TEXT", "VARCHAR"},
    "BIGINT": {"BIGINT", "NUMERIC"},
    "INTEGER": {"INTEGER", "BIGINT", "NUMERIC"},
    "TIMESTAMP WITH TIME ZONE": {"TIMESTAMP WITH TIME ZONE"},
    "JSONB": {"JSONB"},
}
_CASTS = {
    ("ARRAY", "JSONB"): "to_jsonb({})",
    ("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP WITH TIME ZONE"): "{} AT TIME ZONE 'UTC'",
}
_Name = tuple[str | None, str]
_quote = postgresql.dialect().identifier_preparer.quote


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that cannot work, and the statement that would change it."""

    table: str
    problem: str
    sql: str

    def __str__(self) -> str:
        return f"{self.table}: {self.problem}\n    {self.sql}"


def reconcile(connection: Connection, metadata: MetaData) -> None:
    """Create the tables, columns and indexes of `metadata` that the database lacks.

    Raises:
        SchemaMismatch: something there cannot work; nothing was changed.
    """
    inspector = inspect(connection)
    existing = set(inspector.get_table_names())
    present = [table for table in metadata.sorted_tables if table.name in existing]
    found = _look(inspector, [table.name for table in present])
    wrong = [difference for table in present for difference in _differences(found, table)]
    if wrong:
        listed = "\n".join(f"- {difference}" for difference in wrong)
        raise SchemaMismatch(
            f"the database holds tables that the pipeline cannot work with:\n{listed}"
        )
    for table in present:
        _add_missing(connection, found, table)
    metadata.create_all(connection)
    # Compressing these costs three times as much as writing them.
    for table, column in (("musehub_snapshots", "manifest"), ("musehub_commits", "message")):
        connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL"))


class _Found(NamedTuple):
    """What the database has, by schema and table."""

    columns: Mapping[_Name, list[ReflectedColumn]]
    keys: Mapping[_Name, ReflectedPrimaryKeyConstraint | None]
    indexes: Mapping[_Name, list[ReflectedIndex]]
    unique: Mapping[_Name, list[ReflectedUniqueConstraint]]


def _look(inspector: Inspector, tables: Sequence[str]) -> _Found:
    """Look at all the tables at once: one by one takes as many times as long."""
    if not tables:  # without names, it would look at all that there are
        return _Found({}, {}, {}, {})
    return _Found(
        inspector.get_multi_columns(filter_names=tables),
        inspector.get_multi_pk_constraint(filter_names=tables),
        inspector.get_multi_indexes(filter_names=tables),
        inspector.get_multi_unique_constraints(filter_names=tables),
    )


def _differences(found: _Found, table: Table) -> Iterator[Difference]:
    """Yield what the existing table has that cannot work."""
    columns = {column["name"]: column for column in found.columns[None, table.name]}
    for column in table.columns:
        if column.name in columns:
            yield from _type_difference(table, column, columns[column.name])
        elif not column.nullable and column.server_default is None:
            yield Difference(
                table=table.name,
                problem=f"the column {column.name} is missing, and every row needs a value",
                sql=f"ALTER TABLE {table.name} ADD COLUMN {column.name} {column.type} NOT NULL"
                " DEFAULT …;",
            )
    yield from _key_difference(found, table)
    for name, column in columns.items():
        filled = column["nullable"] or column.get("default") is not None
        if name not in table.columns and not (
            filled or column.get("identity") or column.get("computed")
        ):
            yield Difference(
                table=table.name,
                problem=f"the column {name}, which the pipeline does not know, needs a value",
                sql=f"ALTER TABLE {table.name} ALTER COLUMN {_quote(name)} DROP NOT NULL;",
            )


def _key_difference(found: _Found, table: Table) -> Iterator[Difference]:
    key = found.keys[None, table.name]
    name, present = (key["name"], key["constrained_columns"]) if key else (None, [])
    wanted = [column.name for column in table.primary_key]
    if sorted(present) != sorted(wanted):
        drop = f"DROP CONSTRAINT {_quote(name)}, " if name else ""
        columns = ", ".join(wanted)
        yield Difference(
            table=table.name,
            problem=f"its key is ({', '.join(present)}), the pipeline needs ({columns})",
            sql=f"ALTER TABLE {table.name} {drop}ADD PRIMARY KEY ({columns});",
        )


def _type_difference(
    table: Table, column: Column[object], found: ReflectedColumn
) -> Iterator[Difference]:
    wanted_type, found_type = _type_name(column.type), _type_name(found["type"])
    if found_type not in _COMPATIBLE.get(wanted_type, {wanted_type}):
        cast = _CASTS.get((found_type, wanted_type), "{}::" + wanted_type).format(column.name)
        yield Difference(
            table=table.name,
            problem=f"the column {column.name} is {found_type}, the pipeline needs {wanted_type}",
            sql=f"ALTER TABLE {table.name} ALTER COLUMN {column.name} TYPE {wanted_type}"
            f" USING {cast};",
        )
    room, longest = getattr(found["type"], "length", None), column.info.get(LONGEST, 0)
    if room is not None and room < longest:
        yield Difference(
            table=table.name,
            problem=f"the column {column.name} has room for {room} characters, the pipeline"
            f" writes up to {longest}",
            sql=f"ALTER TABLE {table.name} ALTER COLUMN {column.name} TYPE text;",
        )


def _type_name(of: TypeEngine[object]) -> str:
    if isinstance(of, DateTime):
        return f"TIMESTAMP {'WITH' if of.timezone else 'WITHOUT'} TIME ZONE"
    for kind in (ARRAY, Enum):
        if isinstance(of, kind):
            return kind.__name__.upper()
    return re.split(r"[ (]", str(of).upper())[0]  # without a length or a collation


def _add_missing(connection: Connection, found: _Found, table: Table) -> None:
    columns = {column["name"] for column in found.columns[None, table.name]}
    for column in table.columns:
        if column.name not in columns:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
    indexes = {index["name"] for index in found.indexes[None, table.name]}
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if index.name not in indexes:
            connection.execute(CreateIndex(index))
    unique = [set(constraint["column_names"]) for constraint in found.unique[None, table.name]]
    for constraint in table.constraints:
        if (
            isinstance(constraint, UniqueConstraint)
            and set(constraint.columns.keys()) not in unique
        ):
            connection.execute(AddConstraint(constraint, isolate_from_table=False))
