"""A hub by way of a pooler, and what the pipeline leaves in the sessions that it was lent."""

from contextlib import ExitStack
from typing import Any

import psycopg
from sqlalchemy import make_url

from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.pgbouncer import PgBouncer

NOT_OURS = ["application_name", "client_encoding", "DateStyle", "TimeZone"]
"""Settings that PgBouncer keeps for each of its clients."""


def through(pooler: PgBouncer, hub: Hub) -> Hub:
    url = pooler.url(str(hub.settings.database_url))
    return Hub(hub.settings.model_copy(update={"database_url": url}))


def kept(url: str, pooled_url: str) -> list[Any]:
    """Return what is left in the sessions of a pooler, as the next to borrow them finds it."""
    with psycopg.connect(url) as direct, ExitStack() as stack:
        name = make_url(url).database
        [(number,)] = direct.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        ).fetchall()
        found: list[Any] = []
        for _ in range(number):
            client = stack.enter_context(psycopg.connect(pooled_url))
            found += client.execute(
                "SELECT name, setting FROM pg_settings WHERE source = 'session'"
                " AND name <> ALL(%s) AND NOT starts_with(name, 'transaction_')"
                " UNION ALL SELECT 'listens', pg_listening_channels()",
                [NOT_OURS],
            ).fetchall()
        locks = direct.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        assert number
        return found + locks.fetchall()
