-- The statements of `orphans.py`. They run in one transaction, on a table that goes with it.

-- name: orphans_make
-- The objects that storage holds.
CREATE TEMP TABLE orphans (object_id text, size_bytes bigint, stored_at timestamptz) ON COMMIT DROP;

-- name: orphans_note
-- Some of them.
INSERT INTO orphans (object_id, size_bytes, stored_at)
SELECT object_id, size_bytes, stored_at
FROM unnest(%(ids)b::text[], %(sizes)b::bigint[], %(times)b::timestamptz[])
    AS new (object_id, size_bytes, stored_at);

-- name: orphans_analyze
-- Tell the planner how many they are: nobody else looks at a table of a session.
ANALYZE orphans;

-- name: orphans_forget_objects
-- Leave those that have no row.
DELETE FROM orphans USING musehub_objects AS o WHERE o.object_id = orphans.object_id;

-- name: orphans_forget_refs
-- Of these, leave those that no repo holds either.
DELETE FROM orphans WHERE object_id IN (
    SELECT r.object_id FROM musehub_object_refs AS r JOIN orphans USING (object_id)
);

-- name: orphans_total
-- How many are left that are old enough, and how large they are together.
SELECT count(*) AS objects, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM orphans
WHERE %(older_than)s::interval IS NULL OR stored_at < statement_timestamp() - %(older_than)s::interval;

-- name: orphans
-- These, the oldest first. Where storage's clock is ahead, an object is of age 0.
SELECT object_id, size_bytes, stored_at,
    greatest(extract(epoch FROM statement_timestamp() - stored_at), 0)::float AS age_seconds
FROM orphans
WHERE %(older_than)s::interval IS NULL OR stored_at < statement_timestamp() - %(older_than)s::interval
ORDER BY stored_at, object_id;
