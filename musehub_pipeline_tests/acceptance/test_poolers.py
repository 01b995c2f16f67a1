"""`dev` behind a pooler that lends a session for each transaction, Dagster's database with it."""

from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.servers.pgbouncer import PgBouncer
from musehub_pipeline_tests.servers.postgres import Postgres

JOBS = 4


def test_pushes_are_indexed_with_dagsters_database_behind_the_same_pooler(
    dev: Dev, postgres: Postgres
) -> None:
    with PgBouncer(postgres, mode="transaction") as pooler:
        dev.environment["MUSEHUB_DATABASE_URL"] = pooler.url(str(dev.hub.settings.database_url))
        dev.start()

        push_many(dev.hub, repos=JOBS, each=1)

        dev.wait(lambda: dev.statuses() == {"done": JOBS}, seconds=180)
        assert "a pooler answers at " in dev.log()
        assert dev.stop() == 0
