#!/usr/bin/env bash
# SQLAlchemy 2.1.9.
#
# An inspector's get_multi_columns, and the like of it, take the names of the tables to look at. An empty list of names
# is taken for no filter: every table of the schema is reflected, and not none. Who asks for those tables that are there
# already, of some, gets all the others where none of them is.
#
# Seen, tables that are reflected of three:
#   named one, two -> one, two
#   named one -> one
#   named nothing -> one, three, two
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlalchemy==2.1.9
cat >"$folder/look.py" <<'PYTHON'
from sqlalchemy import create_engine, inspect, text

engine = create_engine("sqlite://")
with engine.begin() as connection:
    for name in ("one", "two", "three"):
        connection.execute(text(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)"))
    inspector = inspect(connection)
    for names in (["one", "two"], ["one"], []):
        found = inspector.get_multi_columns(filter_names=names)
        print("named", ", ".join(names) or "nothing", "->", ", ".join(sorted(name for _, name in found)))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
named one, two -> one, two
named one -> one
named nothing -> one, three, two
SEEN
