from django.db import migrations

CLOCK = """
CREATE FUNCTION trigger_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS 'SELECT clock_timestamp()';
COMMENT ON FUNCTION trigger_now() IS 'The one clock of leases and due times; tests replace it.';
"""

# A run's row is rewritten about four times in its life: room on the page keeps those updates off the indexes that do
# not change, and an early vacuum keeps the claim from wading through dead rows.
STORAGE = """
ALTER TABLE runs_run SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE runs_attempt SET (fillfactor = 80);
"""

DEFAULTS = """
ALTER TABLE runs_run RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
ALTER TABLE runs_attempt RESET (fillfactor);
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_initial")]

    operations = [
        migrations.RunSQL(CLOCK, "DROP FUNCTION trigger_now()"),
        migrations.RunSQL(STORAGE, DEFAULTS),
    ]
