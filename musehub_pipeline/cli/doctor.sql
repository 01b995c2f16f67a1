-- The statements of `doctor.py`.

-- name: server
-- What answers, how it stores its texts, and who asks.
SELECT current_setting('server_version'), current_setting('server_encoding'), current_user::text;

-- name: missing_rights
-- What runs do with the tables, and this role may not; an UPDATE may be granted for some columns only.
SELECT needed.name, needed.may
FROM (
    SELECT name, 'SELECT' AS may FROM unnest(%(tables)s::text[]) AS tables (name)
    UNION ALL
    VALUES
        ('musehub_background_jobs', 'UPDATE'),
        ('musehub_branches', 'INSERT'), ('musehub_branches', 'UPDATE'),
        ('musehub_commits', 'INSERT'),
        ('musehub_object_refs', 'INSERT'),
        ('musehub_objects', 'INSERT'), ('musehub_objects', 'UPDATE'),
        ('musehub_pipeline_runs', 'INSERT'), ('musehub_pipeline_runs', 'UPDATE'),
        ('musehub_pipeline_runs', 'DELETE'),
        ('musehub_pipeline_witnesses', 'INSERT'), ('musehub_pipeline_witnesses', 'DELETE'),
        ('musehub_repos', 'UPDATE'),
        ('musehub_snapshots', 'INSERT')
) AS needed
WHERE NOT CASE needed.may
    WHEN 'DELETE' THEN has_table_privilege(needed.name, needed.may)
    ELSE has_any_column_privilege(needed.name, needed.may)
END
ORDER BY needed.name, needed.may;
