#!/usr/bin/env bash
# SQLAlchemy 2.1.9.
#
# AddConstraint marks the constraint that it is given: from then on, no CREATE TABLE of the process has it, in
# whatever database. A program that adds a missing constraint to one database, and then makes the tables of a new
# one, makes them without it. isolate_from_table=False leaves the constraint as it was.
#
# Seen:
#   before: UNIQUE
#   after AddConstraint: none
#   after AddConstraint(isolate_from_table=False): UNIQUE
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlalchemy==2.1.9
cat >"$folder/look.py" <<'PYTHON'
from collections.abc import Callable
from functools import partial

from sqlalchemy import Column, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import AddConstraint, CreateTable


def made(add: Callable[[UniqueConstraint], object] | None = None) -> str:
    constraint = UniqueConstraint("owner", "slug")
    table = Table("repos", MetaData(), Column("owner", Text), Column("slug", Text), constraint)
    if add is not None:
        add(constraint)
    sql = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    return "UNIQUE" if "UNIQUE" in sql else "none"


unmarked = partial(AddConstraint, isolate_from_table=False)
print("before:", made())
print("after AddConstraint:", made(AddConstraint))
print("after AddConstraint(isolate_from_table=False):", made(unmarked))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
before: UNIQUE
after AddConstraint: none
after AddConstraint(isolate_from_table=False): UNIQUE
SEEN
