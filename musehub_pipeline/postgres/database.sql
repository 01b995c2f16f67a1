-- The statements of `database.py`.

-- name: limit_idle
-- Within a transaction the server waits no longer than that for its client's next word.
SELECT set_config('idle_in_transaction_session_timeout', %(milliseconds)s, false);

-- name: notice_death
-- The server looks so often, while a statement runs or waits, whether its client is still there: a process
-- that was killed must not keep its locks.
SELECT set_config('client_connection_check_interval', %(milliseconds)s, false);

-- name: now
-- The time by the server's clock.
SELECT clock_timestamp() AS now;

-- name: has_revision
-- Whether the tables have ever been made.
SELECT to_regclass('musehub_pipeline_version') IS NOT NULL AS has_revision;

-- name: revision
-- The revision that the tables are at.
SELECT version_num FROM musehub_pipeline_version;
