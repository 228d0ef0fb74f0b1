"""The step of a sync in which a person says yes or no to its plan."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

PLAN, APPROVE = "plan", "approve"


class PlanApproval(ApprovalOperator):
    """Asks only when the plan is as large as the contract says; else it is done at once. With a no, nothing is sent."""

    def __init__(self, *, sync: str, **kwargs: Any) -> None:
        super().__init__(subject=f"Send the plan of sync {sync}?", **kwargs)

    def execute(self, context: Any) -> Any:
        """Ask, with the counts of the plan; its changes stand in the log of `plan`."""
        planned = context["ti"].xcom_pull(task_ids=PLAN)
        if not planned["ask"]:
            print("the plan is below what the contract wants approved")
            return None
        counts = ", ".join(f"{planned[name]:,} {name}" for name in ("creates", "updates", "deletes"))
        self.body = f"It would send **{counts}**. The log of `{PLAN}` shows some of them, field by field."
        return super().execute(context)


def approve(sync: str) -> PlanApproval:
    """The task. A person may take their time: it has no timeout."""
    doc = "Waits until somebody approves the plan in the UI, when it is as large as the contract says."
    return PlanApproval(task_id=APPROVE, sync=sync, doc_md=doc, execution_timeout=None)
