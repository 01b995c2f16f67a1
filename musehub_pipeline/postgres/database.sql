-- The statements of `database.py`.

-- name: backend
-- Which process of the server answers, whether it has heard what it was asked for, and whether its
-- transactions only read unless told otherwise, or end after some time. Before PostgreSQL 17 none does.
SELECT
    pg_backend_pid() AS pid,
    current_setting('musehub.session', true) IS NOT DISTINCT FROM 'asked' AS heard,
    current_setting('default_transaction_read_only')::boolean AND NOT pg_is_in_recovery() AS reads,
    current_setting('transaction_timeout', true) <> '0' AS timed;

-- name: setting
-- What a setting is where nobody has set it in this session.
SELECT current_setting(%(name)s) AS value;

-- name: read_only_role
-- A superuser goes on as who may read all rows, and no file, and run no program.
SELECT set_config('role', 'pg_read_all_data', true) WHERE current_setting('is_superuser')::boolean;

-- name: notice_death
-- The server looks so often, while a statement runs or waits, whether its client is still there: a process
-- that was killed must not keep its locks.
SELECT set_config('client_connection_check_interval', %(milliseconds)s, %(local)s);

-- name: now
-- The time by the server's clock.
SELECT clock_timestamp() AS now;

-- name: has_revision
-- Whether the tables have ever been made.
SELECT to_regclass('musehub_pipeline_version') IS NOT NULL AS has_revision;

-- name: revision
-- The revision that the tables are at.
SELECT version_num FROM musehub_pipeline_version;
