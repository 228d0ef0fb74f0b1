"""One DAG for each sync contract: activate__<sync>."""

from __future__ import annotations

from airflow.sdk import DAG, chain

from include.core.contracts import SyncContract
from plugins.tasks import activate
from plugins.tasks.alerts import Recovery
from plugins.tasks.dag import contracts_or_faults, dag_arguments, marts_asset


def activate_dag(contract: SyncContract) -> DAG:
    with DAG(
        **dag_arguments(contract), schedule=[marts_asset(contract.transform)], params=activate.TRIGGER_FORM
    ) as dag:
        steps = [activate.plan, activate.deliver, activate.settle]
        if contract.verify != "never":
            steps.append(activate.verify)
        steps[-1] = steps[-1].override(on_success_callback=[Recovery("activate", contract.sync)])
        chain(*(step(contract.sync) for step in steps))
    return dag


for dag in contracts_or_faults(SyncContract, activate_dag):
    globals()[dag.dag_id] = dag
