"""One DAG for each sync contract: activate__<sync>."""

from __future__ import annotations

from airflow.sdk import DAG, chain

from include.core.contracts import SyncContract
from plugins.tasks import activate
from plugins.tasks.alerts import Recovery
from plugins.tasks.approval import approve
from plugins.tasks.dag import contracts_or_faults, dag_arguments, marts_asset


def activate_dag(contract: SyncContract) -> DAG:
    with DAG(
        **dag_arguments(contract), schedule=[marts_asset(contract.transform)], params=activate.TRIGGER_FORM
    ) as dag:
        asked = [] if contract.approval == "never" else [approve(contract.sync)]
        last = activate.settle if contract.verify == "never" else activate.verify
        ended = last.override(on_success_callback=[Recovery("activate", contract.sync)])(contract.sync)
        settled = [] if last is activate.settle else [activate.settle(contract.sync)]
        chain(activate.plan(contract.sync), *asked, activate.deliver(contract.sync), *settled, ended)
    return dag


for dag in contracts_or_faults(SyncContract, activate_dag):
    globals()[dag.dag_id] = dag
