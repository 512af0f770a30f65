-- Purpose: remember which runs have failed since their task's last success, and cool the task down if there are many: the
--   next run is dispatched after 2^(n - cooling_from) seconds at the earliest, n being the number of these runs. A
--   cool-down that has just begun has no probe yet, whatever is running.
-- Parameters: arrays of one length: task_ids text[], run_ids uuid[]; cooling_from int, runs_kept int (more do not make
--   the interval longer), longest_seconds int.
-- Returns: task_id, failing_count. Locks: the tasks' controls, in order of id, after the runs of the caller.
WITH failed AS (
    SELECT task_id, array_agg(DISTINCT run_id) AS runs
    FROM unnest(%(task_ids)s::text[], %(run_ids)s::uuid[]) AS i (task_id, run_id)
    GROUP BY task_id
)
INSERT INTO runs_taskcontrol AS c (task_id, is_paused, rate_limit, rate_limit_per_key, failing_runs, cooling_until)
SELECT task_id, false, '', '', runs[:%(runs_kept)s], CASE WHEN cardinality(runs) >= %(cooling_from)s THEN
           trigger_now() + make_interval(
               secs => least(%(longest_seconds)s, 2 ^ (least(cardinality(runs), %(runs_kept)s) - %(cooling_from)s)))
       END
FROM failed
ORDER BY task_id
ON CONFLICT (task_id) DO UPDATE
SET (failing_runs, cooling_until) = (
    SELECT kept.runs, CASE WHEN cardinality(kept.runs) >= %(cooling_from)s THEN
               trigger_now() + make_interval(
                   secs => least(%(longest_seconds)s, 2 ^ (cardinality(kept.runs) - %(cooling_from)s)))
           END
    FROM (SELECT ARRAY(
        SELECT DISTINCT run_id FROM unnest(c.failing_runs || EXCLUDED.failing_runs) AS u (run_id) LIMIT %(runs_kept)s
    ) AS runs) AS kept
), probe_run = CASE WHEN cardinality(c.failing_runs) >= %(cooling_from)s THEN c.probe_run END
RETURNING task_id, cardinality(failing_runs) AS failing_count
