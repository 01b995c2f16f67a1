-- The statements of `database.py`.

-- name: limit_idle
-- Within a transaction the server waits no longer than that for its client's next word.
SELECT set_config('idle_in_transaction_session_timeout', %(milliseconds)s, false);

-- name: now
-- The time by the server's clock.
SELECT clock_timestamp() AS now;
