-- Purpose: a run of a task that cools down was claimed: the next one waits for the interval that its failures ask for.
-- Parameters: tasks text[], cooling_from int, longest_seconds int.
-- Returns: nothing. Locks: the tasks' controls. A task that was reset meanwhile stays so.
UPDATE runs_taskcontrol
SET cooling_until = trigger_now() + make_interval(
    secs => least(%(longest_seconds)s, 2 ^ least(cardinality(failing_runs) - %(cooling_from)s, 30)))
WHERE task_id = ANY(%(tasks)s::text[]) AND cardinality(failing_runs) >= %(cooling_from)s
