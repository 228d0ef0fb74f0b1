"""One DAG for what no run looks after: maintain."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, CronTriggerTimetable

from include.core.contracts.upkeep import Upkeep
from plugins.tasks import maintain
from plugins.tasks.dag import dag_arguments

with DAG(
    **dag_arguments(Upkeep()),
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
):
    maintain.look_after_incidents()
