-- Purpose: what a trigger is judged by: the task as its newest deployment declares it.
-- Parameters: task_id text. Returns: no row for an unknown task, else options and payload_schema (JSON text),
--   is_retired. Locks: nothing. Relies on: task_version_is_unique.
SELECT v.options::text AS options, v.payload_schema::text AS payload_schema, t.is_retired
FROM runs_task t JOIN runs_taskversion v ON v.deployment_id = t.deployment_id AND v.task_id = t.id
WHERE t.id = %(task_id)s
