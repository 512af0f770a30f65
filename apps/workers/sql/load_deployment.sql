-- Purpose: load what a worker needs to run the tasks of a deployment it does not have yet.
-- Parameters: deployment_id uuid. Returns: one row with task_set, version, kind, image, content_hash, archive, lock,
--   options (JSON text: task id -> options). Locks: nothing.
SELECT d.task_set, d.version, d.kind, d.image, d.content_hash, d.archive, d.lock,
       (SELECT coalesce(json_object_agg(v.task_id, v.options), '{}')::text
        FROM runs_taskversion v WHERE v.deployment_id = d.id) AS options
FROM runs_deployment d WHERE d.id = %(deployment_id)s
