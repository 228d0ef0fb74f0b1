"""What looks after everything else: maintain."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable

from plugins.tasks import maintain

with DAG(
    dag_id="maintain",
    description="Every five minutes: is data where it has to be by now?",
    doc_md=maintain.DOCUMENTATION,
    tags=["maintain"],
    schedule=CronDataIntervalTimetable("*/5 * * * *", "UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    deadline=maintain.WATCH_IS_LATE,
    default_args={
        "owner": "data-platform",
        "retries": 2,
        "retry_delay": timedelta(seconds=20),
        "execution_timeout": timedelta(minutes=5),
        "on_failure_callback": [maintain.WatchFailed()],
    },
) as dag:
    maintain.watch_deadlines()
