-- Purpose: a run of a task that cools down was claimed: the next one waits for the interval that its failures ask for.
-- Parameters: tasks text[], cooling_from int, longest_seconds int.
-- Returns: nothing. Locks: the tasks' controls, in the order of their ids. A task that was reset meanwhile stays so.
WITH cooling AS MATERIALIZED (
    SELECT task_id FROM runs_taskcontrol
    WHERE task_id = ANY(%(tasks)s::text[]) AND cardinality(failing_runs) >= %(cooling_from)s
    ORDER BY task_id
    FOR NO KEY UPDATE
)
UPDATE runs_taskcontrol c
SET cooling_until = trigger_now() + make_interval(
    secs => least(%(longest_seconds)s, 2 ^ least(cardinality(c.failing_runs) - %(cooling_from)s, 30)))
FROM cooling WHERE c.task_id = cooling.task_id
