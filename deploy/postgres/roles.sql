-- Three roles of the pipeline, each with the least that it needs:
--
--   musehub_owner   owns the tables: `musehub-pipeline db upgrade`
--   musehub_worker  runs, the sensor, and all other commands but those that add jobs or repositories, as the
--                   hub does: `push`, `demo` and `backfill discover --enqueue`
--   musehub_reader  looks: `fsck`, `status`, `stats`, `metrics`, `jobs list` and `show`, `db query`
--
-- Run it as a superuser in the hub's database, before the first `db upgrade` and after each one:
--
--   psql --file roles.sql musehub
--
-- It makes no passwords: give each role one with \password. Dagster's database belongs to the worker:
--
--   createdb --owner musehub_worker musehub_dagster

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['musehub_owner', 'musehub_worker', 'musehub_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
        EXECUTE format('GRANT CONNECT, TEMP ON DATABASE %I TO %I', current_database(), name);
    END LOOP;
END $$;

-- As PostgreSQL 15 has it by itself. A hub whose own role makes tables needs it, too.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO musehub_owner;
GRANT USAGE ON SCHEMA public TO musehub_worker, musehub_reader;

DO $$
BEGIN
    IF to_regclass('public.musehub_pipeline_version') IS NULL THEN
        RAISE NOTICE 'There are no tables yet: run this again after musehub-pipeline db upgrade.';
        RETURN;
    END IF;

    GRANT SELECT ON
        musehub_repos, musehub_branches, musehub_background_jobs, musehub_pipeline_runs,
        musehub_objects, musehub_object_refs, musehub_snapshots, musehub_commits,
        musehub_mpack_timings, musehub_pipeline_version, musehub_pipeline_pauses,
        musehub_pipeline_witnesses
    TO musehub_worker, musehub_reader;

    -- What is indexed is added, and never taken away; rows that are wrong are healed.
    GRANT INSERT ON
        musehub_objects, musehub_object_refs, musehub_snapshots, musehub_commits, musehub_branches
    TO musehub_worker;
    GRANT UPDATE (size_bytes, storage_uri) ON musehub_objects TO musehub_worker;
    GRANT UPDATE (head_commit_id) ON musehub_branches TO musehub_worker;
    GRANT UPDATE (pushed_at) ON musehub_repos TO musehub_worker;

    -- How a job stands; not what was pushed.
    GRANT UPDATE (
        status, attempt, run_id, lease_expires_at, not_before, started_at, finished_at, error_code,
        error, result, index_version, attempts, attempts_forgiven
    ) ON musehub_background_jobs TO musehub_worker;

    -- Heartbeats: those of runs that died long ago are forgotten.
    GRANT INSERT, UPDATE, DELETE ON musehub_pipeline_runs TO musehub_worker;
    GRANT INSERT, DELETE ON musehub_pipeline_witnesses TO musehub_worker;

    -- `jobs pause` and `jobs resume`.
    GRANT INSERT, DELETE ON musehub_pipeline_pauses TO musehub_worker;
END $$;

-- With MUSEHUB_KEEP_DONE_DAYS, for the job prune_history:
--
--   GRANT DELETE ON musehub_background_jobs TO musehub_worker;
