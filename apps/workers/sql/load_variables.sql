-- Purpose: load the variables that the tasks of a deployment get, encrypted.
-- Parameters: deployment_id uuid. Returns: task_set, name, value, version; those of all sets first.
-- Locks: nothing. Relies on: runs_deployment_pkey, variable_name_is_unique.
SELECT v.task_set, v.name, v.value, v.version
FROM runs_deployment d
JOIN runs_variable v ON v.task_set IN ('', d.task_set) AND v.value IS NOT NULL
WHERE d.id = %(deployment_id)s
ORDER BY v.task_set, v.name
