-- Purpose: a run of a task that cools down was claimed, as a probe: the next one waits for the interval that its failures
--   ask for, and for this one while it runs, but no longer than the interval or probe_seconds, whichever is more.
-- Parameters: arrays of one length: tasks text[], run_ids uuid[]; cooling_from int, longest_seconds int, probe_seconds int.
-- Returns: nothing. Locks: the tasks' controls, in the order of their ids. A task that was reset meanwhile stays so.
WITH cooling AS MATERIALIZED (
    SELECT task_id,
           least(%(longest_seconds)s, 2 ^ least(cardinality(failing_runs) - %(cooling_from)s, 30)) AS seconds
    FROM runs_taskcontrol
    WHERE task_id = ANY(%(tasks)s::text[]) AND cardinality(failing_runs) >= %(cooling_from)s
    ORDER BY task_id
    FOR NO KEY UPDATE
), clock AS MATERIALIZED (SELECT trigger_now() AS now)
UPDATE runs_taskcontrol c
SET cooling_until = clock.now + make_interval(secs => cooling.seconds),
    probe_run = i.run_id,
    probe_until = clock.now + make_interval(secs => greatest(cooling.seconds, %(probe_seconds)s))
FROM cooling, clock, unnest(%(tasks)s::text[], %(run_ids)s::uuid[]) AS i (task_id, run_id)
WHERE c.task_id = cooling.task_id AND i.task_id = cooling.task_id
