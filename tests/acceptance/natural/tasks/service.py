"""A service with its settings in an object, whose method is the job."""

from dataclasses import dataclass

import world
from trigger_sdk import checkpoint, task


@dataclass
class ReportService:
    title: str

    @task(id="weekly-report")
    def weekly_report(self, team: str):
        hours = world.get(f"/hours/{team}")
        checkpoint("loaded", {"hours": hours})

        total = sum(hours.values())
        report = world.post("/reports", {"text": f"{self.title}: {team} worked {total} hours"})
        return {"report": report["id"], "hours": total}


service = ReportService("Weekly report")
