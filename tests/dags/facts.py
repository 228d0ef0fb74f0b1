"""What a DAG is, in plain values: what the checks ask for, and the graph that is kept as a snapshot."""

from __future__ import annotations

import json
from typing import Any

from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization


def facts(dag: DAG) -> dict[str, Any]:
    """All that the checks need. Serialising it is what Airflow does with every DAG that it keeps."""
    serialised = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    # where this process happened to look for DAGs
    serialised["dag"].pop("_processor_dags_folder", None)
    return {
        "description": dag.description or "",
        "doc_md": dag.doc_md or "",
        "tags": sorted(dag.tags),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "deadlines": len(dag.deadline or ()),
        # by this Airflow knows whether a DAG has a new version
        "version": SerializedDagModel.hash(serialised),
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
        "graph": _graph(dag, serialised["dag"]),
    }


def _task(task: Any) -> dict[str, Any]:
    return {
        "owner": task.owner,
        "retries": task.retries,
        "timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
        "alerts": [type(callback).__name__ for callback in task.on_failure_callback or ()],
        "ends_incidents": [type(callback).__name__ for callback in task.on_success_callback or ()]
        == ["Recovery"],
        "doc": bool(task.doc_md),
        "teardown": task.is_teardown,
        "decides": task.is_teardown and task.on_failure_fail_dagrun,
        "mapped": task.is_mapped,
    }


def _graph(dag: DAG, serialised: dict[str, Any]) -> dict[str, Any]:
    timetable = serialised["timetable"]
    return {
        "schedule": {
            timetable["__type"].rpartition(".")[2]: {
                name: value for name, value in timetable["__var"].items() if name != "asset_condition"
            }
        },
        "starts_after": _condition(timetable["__var"].get("asset_condition")),
        "params": sorted(dag.params),
        "tasks": {task.task_id: _node(task) for task in sorted(dag.tasks, key=lambda task: task.task_id)},
    }


def _condition(condition: Any) -> Any:
    """Names of assets, within `all` or `any` as the schedule says."""
    if condition is None:
        return None
    if "objects" not in condition:
        return condition["name"]
    return {condition["__type"].removeprefix("asset_"): [_condition(part) for part in condition["objects"]]}


def _known_instances(task: Any) -> list[str]:
    """What a mapped task is mapped over, where the DAG file says so; none where a run finds out."""
    values = getattr(task, "op_kwargs_expand_input", task.expand_input).value
    return [".".join(map(str, one.values())) for one in values] if isinstance(values, list) else []


def _node(task: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"then": sorted(task.downstream_task_ids)}
    if task.is_mapped:
        node["mapped"] = _known_instances(task) or True
    if task.trigger_rule != "all_success":
        node["trigger_rule"] = task.trigger_rule.value
    if task.is_teardown:
        node["teardown"] = True
    if task.outlets:
        node["publishes"] = sorted(asset.name for asset in task.outlets)
    return node
