"""What every DAG must be. Each function returns what is wrong, in sentences; an empty list is what one wants."""

from __future__ import annotations

import re
from typing import Any

#: The way of the data: the steps of each kind of DAG, in the order in which data passes them.
WAY = {
    "ingest": (
        "wait_out_quiet_hours",
        "wait_for_commit_horizon",
        "extract",
        "stage",
        "audit",
        "publish",
        "balance",
        "complete",
        "close",
    ),
    "transform": ("begin", "build", "gate", "publish"),
    "activate": ("plan", "deliver", "settle", "verify"),
}
#: Steps that a DAG has only when its contract asks for them.
OPTIONAL = ("wait_out_quiet_hours", "verify")
_ID = re.compile(r"(ingest|transform|activate|maintain)(__[a-z][a-z0-9_]*)?")
#: The step after which all is well: its success ends the incidents of its DAG.
LAST_GOOD = {"ingest": "complete", "transform": "publish", "activate": "settle", "maintain": "complete"}
#: Owners that nobody is.
_NOBODY = ("", "airflow", "unknown")

# A budget in numbers that do not depend on how fast or how busy the machine is: modules, and processor time measured
# against importing Airflow and Cosmos in the same process. The project's files use about a third of each.
MODULES_PER_FILE = 150
FIRST_PARSE = 0.5
NEXT_PARSE_PER_DAG = 0.05


def faults(dag_id: str, dag: dict[str, Any]) -> list[str]:
    """Whether a DAG can be run by people who did not write it."""
    wrong = []
    kind = dag_id.partition("__")[0]
    if not _ID.fullmatch(dag_id):
        wrong.append(
            "its id is not ingest__, transform__ or activate__ and a name in lower case, or maintain"
        )
    if "broken contract" in dag["tags"]:
        wrong.append("its contract has faults: " + dag["doc_md"])
    if kind not in dag["tags"]:
        wrong.append(f"its tags {dag['tags']} lack its kind, {kind!r}")
    if not dag["description"].strip():
        wrong.append("it has no description")
    if "## When it fails" not in dag["doc_md"]:
        wrong.append("its doc_md does not say what to do when it fails (a heading 'When it fails')")
    # one at a time of day is the contract's alone: Airflow knows nothing of it, and maintain watches it
    if not dag["deadlines"] and "- **Deadline:** consumers have its data by " not in dag["doc_md"]:
        wrong.append("it has no deadline")
    if dag["catchup"]:
        wrong.append("it would catch up on the past by itself; backfills are asked for")
    for task_id, task in dag["tasks"].items():
        wrong += (f"task {task_id}: {what}" for what in _task_faults(task_id, task))
    ends = [task_id for task_id, task in dag["tasks"].items() if task["ends_incidents"]]
    last = "verify" if "verify" in dag["tasks"] else LAST_GOOD.get(kind)
    if last and ends != [last]:
        wrong.append(f"its incidents are ended by {ends}, and not by {last} (on_success_callback)")
    return wrong + way_faults(kind, dag["graph"]["tasks"])


def _task_faults(task_id: str, task: dict[str, Any]) -> list[str]:
    wrong = []
    if task["owner"] in _NOBODY:
        wrong.append(f"nobody owns it (owner {task['owner']!r})")
    if not task["retries"]:
        wrong.append("it is not tried again")
    if not task["timeout"]:
        wrong.append("it may run for ever (execution_timeout)")
    if task["decides"]:
        wrong.append(
            "a teardown that decides over the run hides what failed before it (on_failure_fail_dagrun)"
        )
    # a teardown fails because of what went before, and that has told already
    if not task["alerts"] and not task["teardown"]:
        wrong.append("nobody is told when it fails (on_failure_callback)")
    # dbt's models and tests, a group, are documented in the dbt project; of mapped tasks Airflow takes no docstring
    if not task["doc"] and not task["mapped"] and "." not in task_id:
        wrong.append("it does not say what it does (its function has no docstring)")
    return wrong


def way_faults(kind: str, tasks: dict[str, Any]) -> list[str]:
    """Whether task names follow the way of the data: all steps, no others, and no edge that leads back."""
    if kind not in WAY:
        return []
    steps, way = {task: task.partition(".")[0] for task in tasks}, WAY[kind]
    wrong = [f"step {step} is missing" for step in way if step not in (*steps.values(), *OPTIONAL)]
    wrong += [f"task {task} is no step of {kind}: {way}" for task, step in steps.items() if step not in way]
    if wrong:
        return wrong
    return [
        f"task {task} comes before {after}, against the way of the data: {way}"
        for task in tasks
        for after in tasks[task]["then"]
        if way.index(steps[task]) > way.index(steps[after])
    ]


def side_effects(file: dict[str, Any]) -> list[str]:
    """What parsing a file did beside defining DAGs."""
    heavy = (f"imports {package}; import it in the task that uses it" for package in file["heavy"])
    return [*file["did"], *heavy]


def over_budget(report: dict[str, Any]) -> list[str]:
    """Which files cost more than their share: they are parsed every few seconds, each time in a new process."""
    wrong, base = [], report["baseline"]["cpu"]
    dags = max(len(report["dags"]), 1)
    for first, again in zip(report["files"], report["again"], strict=True):
        if first["modules"] > MODULES_PER_FILE:
            wrong.append(f"{first['file']} imports {first['modules']} modules beyond Airflow and Cosmos")
        if first["cpu"] > FIRST_PARSE * base:
            wrong.append(
                f"{first['file']} takes {first['cpu']} s of processor time; Airflow itself takes {base} s"
            )
        if again["cpu"] > NEXT_PARSE_PER_DAG * base * dags:
            wrong.append(
                f"{first['file']} takes {again['cpu']} s with all imports done, for {dags} DAGs in all"
            )
    return wrong
