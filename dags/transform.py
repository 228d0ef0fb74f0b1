"""One DAG for each transform contract: transform__<name>."""

from __future__ import annotations

from airflow.sdk import DAG, AssetAny

from include.core.contracts import TransformContract
from plugins.tasks import transform
from plugins.tasks.alerts import Recovery
from plugins.tasks.dag import contracts_or_faults, dag_arguments, marts_asset, raw_asset


def transform_dag(contract: TransformContract) -> DAG:
    name, asset = contract.transform, marts_asset(contract.transform)
    with DAG(
        **dag_arguments(contract),
        schedule=AssetAny(*(raw_asset(source) for source in contract.sources)),
    ) as dag:
        built = transform.dbt_build(contract)
        gated = transform.gate.partial(name=name).expand_kwargs(transform.gated_tables(built))
        over = [Recovery("transform", name)]
        published = transform.publish.override(outlets=[asset], on_success_callback=over)(name, asset)
        transform.begin(name) >> built >> gated >> published
    return dag


for dag in contracts_or_faults(TransformContract, transform_dag):
    globals()[dag.dag_id] = dag
