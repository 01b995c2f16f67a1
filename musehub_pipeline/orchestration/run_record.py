"""The record of a run: what Dagster remembers of it, read without Dagster, which takes seconds."""

from dataclasses import dataclass

import psycopg

from musehub_pipeline.domain.escapes import first_line
from musehub_pipeline.orchestration.instance import (
    PROCESS_TAG,
    RecordsUnavailable,
    records_url,
)
from musehub_pipeline.postgres.session import connect
from musehub_pipeline.postgres.statements import statement
from musehub_pipeline.settings import Settings

_SECONDS = "2"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as people look for it."""

    job_name: str
    host: str | None  # None where the launcher has not told


def find_run(settings: Settings, run_id: str) -> RunRecord | None:
    """Return the record of a run, if there is one in PostgreSQL.

    Raises:
        RecordsUnavailable: Dagster keeps its records elsewhere, or they cannot be reached.
    """
    url = records_url(settings).update_query_dict({"connect_timeout": _SECONDS})
    try:
        with connect(url) as connection:
            parameters = {"run_id": run_id, "tag": PROCESS_TAG}
            row = connection.execute(statement("run_record"), parameters).fetchone()
    except psycopg.Error as error:
        raise RecordsUnavailable(f"Dagster's database: {first_line(str(error))}") from error
    if row is None:
        return None
    job_name, process = row
    host, *_ = (process or "").rsplit(" ", 2)
    return RunRecord(job_name=job_name, host=host or None)
