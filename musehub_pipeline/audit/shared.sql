-- Statements that several of the audits run.

-- name: wait_for_storage
-- Let the transaction wait for storage.
SELECT set_config('idle_in_transaction_session_timeout', '0', true);

-- name: stream_and_wait_for_storage
-- Plan cursors for all their rows, and let the transaction wait for storage.
SELECT
    set_config('cursor_tuple_fraction', '1', true),
    set_config('idle_in_transaction_session_timeout', '0', true);

-- name: object_rows
-- Those of some objects that have a row.
SELECT object_id, size_bytes FROM musehub_objects WHERE object_id = ANY(%(ids)b);
