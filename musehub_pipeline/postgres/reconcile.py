"""Bring a database that may already hold hub tables to what the pipeline needs, destroying nothing.

What is missing is added. What is there and cannot work, another key or another type, is listed with
the SQL that would reconcile it; then nothing at all is changed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
from sqlalchemy.engine.interfaces import ReflectedColumn
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
    found = [difference for table in present for difference in differences(inspector, table)]
    if found:
        listed = "\n".join(f"- {difference}" for difference in found)
        raise SchemaMismatch(
            f"the database holds tables that the pipeline cannot work with:\n{listed}"
        )
    for table in present:
        _add_missing(connection, inspector, table)
    metadata.create_all(connection)
    # Compressing these costs three times as much as writing them.
    for table, column in (("musehub_snapshots", "manifest"), ("musehub_commits", "message")):
        connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL"))


def differences(inspector: Inspector, table: Table) -> Iterator[Difference]:
    """Yield what the existing table has that cannot work."""
    columns = {column["name"]: column for column in inspector.get_columns(table.name)}
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
    yield from _key_difference(inspector, table)
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


def _key_difference(inspector: Inspector, table: Table) -> Iterator[Difference]:
    key = inspector.get_pk_constraint(table.name)
    wanted = [column.name for column in table.primary_key]
    if sorted(key["constrained_columns"]) != sorted(wanted):
        drop = f"DROP CONSTRAINT {_quote(key['name'])}, " if key["name"] else ""
        columns = ", ".join(wanted)
        yield Difference(
            table=table.name,
            problem=f"its key is ({', '.join(key['constrained_columns'])}),"
            f" the pipeline needs ({columns})",
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


def _add_missing(connection: Connection, inspector: Inspector, table: Table) -> None:
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    for column in table.columns:
        if column.name not in columns:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
    indexes = {index["name"] for index in inspector.get_indexes(table.name)}
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if index.name not in indexes:
            connection.execute(CreateIndex(index))
    unique = [set(found["column_names"]) for found in inspector.get_unique_constraints(table.name)]
    for constraint in table.constraints:
        if (
            isinstance(constraint, UniqueConstraint)
            and set(constraint.columns.keys()) not in unique
        ):
            connection.execute(AddConstraint(constraint, isolate_from_table=False))
