-- The statements of `deep.py`. Ids are unique, so the next after one is the next that has not been read.

-- name: deep_objects_count
-- How many objects there are to read.
SELECT count(*) FROM musehub_objects
WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s;

-- name: deep_objects
-- Some objects, the next after an id.
SELECT object_id, size_bytes FROM musehub_objects
WHERE object_id > %(after)s AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
ORDER BY object_id
LIMIT %(most)s;

-- name: deep_objects_of_repo_count
-- How many of those that a repo holds there are to read.
SELECT count(*)
FROM musehub_object_refs AS r JOIN musehub_objects AS o USING (object_id)
WHERE r.repo_id = %(repo_id)s AND (%(since)s::timestamptz IS NULL OR o.created_at >= %(since)s);

-- name: deep_objects_of_repo
-- Some of these, the next after an id.
SELECT object_id, o.size_bytes
FROM musehub_object_refs AS r JOIN musehub_objects AS o USING (object_id)
WHERE r.repo_id = %(repo_id)s AND object_id > %(after)s
    AND (%(since)s::timestamptz IS NULL OR o.created_at >= %(since)s)
ORDER BY object_id
LIMIT %(most)s;
