-- The statements of `uploads.py`. They run in one transaction, on a table that goes with it.

-- name: uploads_make
-- The mpacks that storage holds.
CREATE TEMP TABLE uploads (mpack_key text, size_bytes bigint, uploaded_at timestamptz) ON COMMIT DROP;

-- name: uploads_note
-- Some of them.
INSERT INTO uploads (mpack_key, size_bytes, uploaded_at)
SELECT mpack_key, size_bytes, uploaded_at
FROM unnest(%(keys)b::text[], %(sizes)b::bigint[], %(times)b::timestamptz[])
    AS new (mpack_key, size_bytes, uploaded_at);

-- name: uploads_analyze
-- Tell the planner how many they are: nobody else looks at a table of a session.
ANALYZE uploads;

-- name: uploads_forget_named
-- Leave those that no job names, in either spelling; in one pass over the jobs.
DELETE FROM uploads AS u
USING musehub_background_jobs AS j
WHERE j.job_type = 'mpack.index'
    AND u.mpack_key = 'sha256:' || regexp_replace(j.payload ->> 'mpack_key', '^sha256:', '');

-- name: uploads_total
-- How many are left that are old enough, and how large they are together.
SELECT count(*) AS mpacks, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM uploads
WHERE %(older_than)s::interval IS NULL OR uploaded_at < statement_timestamp() - %(older_than)s::interval;

-- name: uploads
-- These, the oldest first. Where storage's clock is ahead, an upload is of age 0.
SELECT mpack_key, size_bytes, uploaded_at,
    greatest(extract(epoch FROM statement_timestamp() - uploaded_at), 0)::float AS age_seconds
FROM uploads
WHERE %(older_than)s::interval IS NULL OR uploaded_at < statement_timestamp() - %(older_than)s::interval
ORDER BY uploaded_at, mpack_key;
