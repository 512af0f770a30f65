-- Purpose: what triggers are judged by: tasks as their newest deployments declare them.
-- Parameters: arrays of one length: task_ids text[], known uuid[] (the deployment whose terms the caller has; null: none).
-- Returns a row for each task that there is: task_id, deployment_id, is_retired, is_known (the newest deployment is the one
--   that the caller has), options and payload_schema (JSON text; null where is_known); now. Where there is none of them, one
--   row with nothing but now. Locks: nothing. Relies on: task_version_is_unique.
SELECT t.id AS task_id, t.deployment_id, t.is_retired, v.id IS NULL AS is_known,
       v.options::text AS options, v.payload_schema::text AS payload_schema, clock.now
FROM (SELECT trigger_now() AS now) AS clock
LEFT JOIN (unnest(%(task_ids)s::text[], %(known)s::uuid[]) AS i (task_id, known) JOIN runs_task t ON t.id = i.task_id)
    ON true
LEFT JOIN runs_taskversion v
    ON v.deployment_id = t.deployment_id AND v.task_id = t.id AND v.deployment_id IS DISTINCT FROM i.known
