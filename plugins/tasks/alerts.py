"""Alerts, as Airflow calls for them: a task has failed for good, a run has succeeded, a rule has warned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, get_current_context

from include.core.errors import MillraceError
from include.core.incident import Trouble, causes_of

if TYPE_CHECKING:
    from include.quality.gate import Verdict


class FailureAlert(BaseNotifier):
    """Tells a contract's channels that a task has failed for good, when its cause is new.

    :param kind: ingest, transform, activate or maintain.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        self.kind, self.name = kind, name

    def notify(self, context: Any) -> None:
        """Record, compose and send. Called by Airflow in the process of the failed task, or where it was found dead."""
        from include.flows.incidents import tell
        from plugins.tasks.context import connect

        task, error = context["task_instance"], context.get("exception")
        part = (
            f"{task.task_id}[{task.rendered_map_index or task.map_index}]"
            if task.map_index >= 0
            else task.task_id
        )
        backfill = _is_backfill(context)
        of = " in a backfill" if backfill else ""
        trouble = Trouble(
            self.kind,
            self.name,
            "failure",
            causes_of(task.task_id, _original(error), task.run_id),
            f"{task.dag_id} failed at {part}{of}",
            str(error or "no reason given"),
            task.run_id,
            task.log_url,
            backfill,
        )
        tell(trouble, connect)


class Recovery(BaseNotifier):
    """Ends the open incidents of a contract. Belongs to the last good step of its DAG."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        self.kind, self.name = kind, name

    def notify(self, context: Any) -> None:
        """Called by Airflow in the process of the task that has succeeded."""
        from include.flows.incidents import over
        from plugins.tasks.context import connect

        # a run of some streams says nothing of the others
        if not (context.get("params") or {}).get("streams"):
            run_id = context["task_instance"].run_id
            over(self.kind, self.name, run_id, connect, backfill=_is_backfill(context))


def warn(kind: str, name: str, verdicts: Sequence[Verdict]) -> None:
    """Tell of rules of severity warning that failed, which stops nothing. A backfill's are in its log only."""
    warned = [verdict for verdict in verdicts if verdict.passed and verdict.warnings]
    if warned:
        error = MillraceError(
            "rules of severity warning failed", causes=[verdict.cause for verdict in warned]
        )
        warn_of(kind, name, error, "\n".join(str(verdict) for verdict in warned))


def warn_of(kind: str, name: str, error: MillraceError, what: str) -> None:
    """Tell of something that stops nothing. A backfill's is in its log only.

    :param error: it says by its words, or its causes, whether this was told before. :param what: the whole message.
    """
    from include.flows.incidents import tell
    from plugins.tasks.context import connect

    context = get_current_context()
    if _is_backfill(context):
        return
    task = context["ti"]
    trouble = Trouble(
        kind,
        name,
        "warning",
        causes_of(task.task_id, error, task.run_id),
        f"{task.dag_id} has a warning at {task.task_id}",
        what,
        task.run_id,
        task.log_url,
    )
    tell(trouble, connect)


def _original(error: Any) -> Any:
    """What Airflow's own exception was made of."""
    cause = getattr(error, "__context__", None)
    return cause if isinstance(cause, MillraceError) else error


def _is_backfill(context: Any) -> bool:
    run = context.get("dag_run")
    return run is not None and bool(run.run_type == "backfill")
