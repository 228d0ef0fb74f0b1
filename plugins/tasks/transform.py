"""The steps of a transform as tasks: the dbt project through Cosmos, its gate, its publication."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, get_current_context, task
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior

from include.core.contracts import TransformContract
from include.core.errors import TerminalError
from plugins.tasks import alerts, context, deadlines
from plugins.tasks.errors import translated
from plugins.tasks.pages import task_that_judges, task_that_publishes_models

if TYPE_CHECKING:
    from cosmos.dbt.graph import DbtNode

    from include.flows.transform import Transform

MANIFEST = context.DBT_PROJECT / "target" / "manifest.json"


def dbt_build(contract: TransformContract) -> DbtTaskGroup:
    """The dbt models of a transform, a task each, then all their tests.

    The graph comes from the manifest that `millrace up` (or the image's build) wrote, so that parsing the DAG runs no dbt.
    Tests run after all models: what is built is a candidate that nobody sees, so nothing is gained by testing in between.
    """
    if not MANIFEST.is_file():
        raise TerminalError(
            "dbt's manifest is not there, so the models are not known",
            where=str(MANIFEST),
            todo="start the stack with `millrace up`, which writes it; without the stack:"
            " dbt parse --target prod, in dbt_project",
        )
    # The name is what Cosmos calls its last task by: dbt_test.
    project = ProjectConfig(manifest_path=MANIFEST, project_name="dbt", install_dbt_deps=False)
    # Cosmos takes it for an object in some store, and would import every store's client, boto3 too, with each parse.
    project.manifest_path = MANIFEST
    return DbtTaskGroup(
        group_id="build",
        project_config=project,
        profile_config=ProfileConfig(
            profile_name="shop",
            target_name="prod",
            profiles_yml_filepath=context.DBT_PROJECT / "profiles.yml",
        ),
        execution_config=ExecutionConfig(
            dbt_project_path=context.DBT_PROJECT,
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=list(contract.select),
            # exposures are documentation: nothing is to be run for them
            exclude=[*contract.exclude, "resource_type:exposure"],
            test_behavior=TestBehavior.AFTER_ALL,
            emit_datasets=False,
            normalize_task_id=_model,
            normalize_task_display_name=_model,
            # the owner of the task is who is asked when it fails, which the contract says; of the data, the dbt group's
            enable_owner_inheritance=False,
        ),
        operator_args={
            "callback": "plugins.tasks.transform.record_results",
            "callback_args": {"transform": contract.transform},
        },
        default_args={"retries": contract.retry.attempts},
    )


def _model(node: DbtNode) -> str:
    """The name of a model's task: the model's, without more."""
    return str(node.name)


def record_results(project: str, transform: str, context: Any) -> None:
    """Keep what dbt says of each model and test in the ledger. Called by Cosmos after each dbt command."""
    from include.flows.transform import record_results as record
    from plugins.tasks.context import connect

    results = Path(project) / "target" / "run_results.json"
    if results.is_file():
        record(
            connect, transform, context["run_id"], json.loads(results.read_text(encoding="utf-8"))["results"]
        )


def _transform(name: str) -> Transform:
    from include.flows.transform import Transform

    contract = context.contract(TransformContract, name)
    return Transform(contract, context.connect, context.run_id(), MANIFEST)


def gated_tables(build: DbtTaskGroup) -> list[dict[str, str]]:
    """Schema and table of each model that this transform builds and publishes, whether it has a suite or not."""
    models = [
        node
        for node in build.dbt_graph.filtered_nodes.values()
        if node.resource_type == DbtResourceType.MODEL
    ]
    return [
        {"schema": schema, "table": table}
        for schema in ("marts", "activation")
        for table in sorted(_model(node) for node in models if node.config.get("schema") == schema)
    ]


def _only_backfilled(transform: Transform) -> bool:
    return context.only_backfilled() and not transform.brings_more_than_backfills()


@task
@translated
def begin(name: str) -> None:
    """An empty candidate to build into."""
    _transform(name).begin()


@task_that_judges(map_index_template="{{ task.op_kwargs['schema'] }}.{{ task.op_kwargs['table'] }}")
@translated
def gate(name: str, schema: str, table: str) -> None:
    """One table of the candidate, judged by its suite."""
    transform = _transform(name)
    verdict = transform.audit(schema, table, backfill=_only_backfilled(transform))
    alerts.warn("transform", name, [verdict])


@task_that_publishes_models
@translated
def publish(name: str, asset: Asset) -> None:
    """All tables of the candidate, for consumers to see, in one transaction. Tells whoever waits for these marts."""
    transform = _transform(name)
    backfill = _only_backfilled(transform)
    version, relations = transform.publish()
    get_current_context()["outlet_events"][asset].extra = {
        "publication": version,
        "rows": relations,
        "backfill": backfill,
    }
    deadlines.run_ended(context.contract(TransformContract, name))
