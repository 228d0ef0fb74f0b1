"""One DAG for each source contract: ingest__<source>."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, CronDataIntervalTimetable

from include.core.contracts import SourceContract
from plugins.tasks import ingest
from plugins.tasks.alerts import Recovery
from plugins.tasks.dag import contracts_or_faults, dag_arguments, first_day, raw_asset


def ingest_dag(contract: SourceContract) -> DAG:
    source, asset = contract.source, raw_asset(contract.source)
    with DAG(
        **dag_arguments(contract),
        schedule=CronDataIntervalTimetable(contract.schedule.cron, contract.schedule.timezone),
        start_date=first_day(contract.schedule),
        params=ingest.trigger_form(contract),
    ) as dag:
        horizon = ingest.wait_for_commit_horizon.override(timeout=contract.impact.horizon_timeout)(source)
        extracted = ingest.extract.override(**ingest.pool(contract))(source)
        lanes = ingest.lanes(contract)
        staged = ingest.stage.partial(source=source, lanes=len(lanes)).expand(lane=lanes)
        audited = ingest.audit.partial(source=source, lanes=len(lanes)).expand(lane=lanes)
        # A batch that is rejected holds back the whole source, or, where the contract says so, its own stream only.
        rule = "all_done" if contract.holds_streams else "none_failed"
        published = ingest.publish.override(outlets=[asset], trigger_rule=rule)(source, asset)
        balanced = ingest.balance(source)
        # A teardown runs in any case, and therefore must not be what a run is judged by.
        complete = EmptyOperator(
            task_id="complete",
            trigger_rule="none_failed",
            on_success_callback=[Recovery("ingest", source)],
            doc_md="Reached when all went well; the run is judged by it.",
        )
        if contract.impact.quiet_hours:
            ingest.wait_out_quiet_hours(source) >> horizon
        horizon >> extracted >> staged >> audited >> published >> balanced >> complete
        audited >> complete
        # Also after `balance`: a rejected batch ends `complete` at once, while the other streams are still published.
        [balanced, complete] >> ingest.close(source).as_teardown()
    return dag


for dag in contracts_or_faults(SourceContract, ingest_dag):
    globals()[dag.dag_id] = dag
