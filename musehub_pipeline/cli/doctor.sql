-- The statements of `doctor.py`.

-- name: server
-- What answers, how it stores its texts, and who asks.
SELECT current_setting('server_version'), current_setting('server_encoding'), current_user::text;

-- name: missing_rights
-- What runs do with the tables, and this role may not.
SELECT needed.name, needed.may
FROM (
    SELECT name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS may
    FROM unnest(%(tables)s::text[]) AS tables (name)
    WHERE name <> 'musehub_repos'
    UNION ALL
    VALUES
        ('musehub_repos', 'SELECT'), ('musehub_repos', 'UPDATE'), ('musehub_pipeline_runs', 'DELETE')
) AS needed
WHERE NOT has_table_privilege(needed.name, needed.may)
ORDER BY needed.name, needed.may;
