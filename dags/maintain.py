"""One DAG for what no run looks after: maintain."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronDataIntervalTimetable

from include.core.contracts.load import upkeep
from plugins.tasks import maintain
from plugins.tasks.alerts import Recovery
from plugins.tasks.dag import dag_arguments

with DAG(
    **dag_arguments(upkeep()),
    schedule=CronDataIntervalTimetable("*/5 * * * *", "UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
):
    looked = [maintain.look_after_incidents(), maintain.watch_deadlines(), maintain.write_model_docs()]
    # an asset event that no run has taken must not wait for the next one
    looked.append(
        TriggerDagRunOperator.partial(
            task_id="start_forgotten", doc_md="Starts each of them once for what was published."
        ).expand(trigger_dag_id=maintain.find_forgotten())
    )
    complete = EmptyOperator(
        task_id="complete",
        trigger_rule="none_failed",
        on_success_callback=[Recovery("maintain", "maintain")],
        doc_md="Reached when all went well; it ends incidents of this DAG itself.",
    )
    looked >> complete
