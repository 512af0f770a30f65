from django.db import migrations

# A function, because a statement that contains the UPDATE itself takes the table's write lock even if there is no row to
# write: every completion would wait while somebody builds an index on the table.
FORGET = """
CREATE FUNCTION trigger_forget_failures(task text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE runs_taskcontrol SET failing_runs = '{}', cooling_until = NULL WHERE task_id = task;
END
$$;
COMMENT ON FUNCTION trigger_forget_failures(text) IS 'One success of a task ends its cool-down; see complete_attempts.sql.';
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0007_probes")]

    operations = [migrations.RunSQL(FORGET, "DROP FUNCTION trigger_forget_failures(text)")]
