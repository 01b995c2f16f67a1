"""How often each job was published, counted beside the row, which shows only the last time."""

from musehub_pipeline_tests.hub import Hub


def count_publications(hub: Hub) -> None:
    """Have the database itself note every end as done, the first and any later one, for good."""
    hub.sql("CREATE TABLE published (job_id text)")
    hub.sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO published VALUES (NEW.job_id); RETURN NULL; END $$"
    )
    hub.sql(
        "CREATE TRIGGER note AFTER UPDATE ON musehub_background_jobs FOR EACH ROW"
        " WHEN (NEW.status = 'done' AND NEW.finished_at IS DISTINCT FROM OLD.finished_at)"
        " EXECUTE FUNCTION note()"
    )


def publications(hub: Hub) -> list[str]:
    """Return the job of every publication that was noted, sorted."""
    return [row["job_id"] for row in hub.sql("SELECT job_id FROM published ORDER BY job_id")]
