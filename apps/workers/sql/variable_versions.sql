-- Purpose: which state of their variables the tasks of deployments get; changes with every change of one of them.
-- Parameters: deployment_ids uuid[]. Returns: deployment_id, version; no row for a deployment without variables.
-- Locks: nothing. Relies on: runs_deployment_pkey, variable_name_is_unique.
SELECT d.id AS deployment_id,
       md5(string_agg(concat_ws('/', v.task_set, v.name, v.version), E'\n' ORDER BY v.task_set, v.name)) AS version
FROM runs_deployment d
JOIN runs_variable v ON v.task_set IN ('', d.task_set) AND v.value IS NOT NULL
WHERE d.id = ANY(%(deployment_ids)s::uuid[])
GROUP BY d.id
