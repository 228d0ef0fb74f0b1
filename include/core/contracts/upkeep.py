"""What the DAG `maintain` says of itself. It belongs to no contract file: it looks after all of them."""

from __future__ import annotations

from datetime import timedelta

from include.core.contracts.common import DagContract, Deadline, Owner, Retry


class Upkeep(DagContract):
    """The fields that make a DAG of it, as those of any contract do."""

    description: str = "Looks every five minutes after what no run looks after."
    owner: Owner = Owner(team="platform", contact="whoever runs this Millrace")
    runbook: str = (
        "No data is affected. Late are escalations, incidents that a maintenance window or a dead channel held back, and"
        " word of data that is late at a time of day, or too old. Read the log, remove the cause; the next run makes"
        " up for it."
    )
    deadline: Deadline = Deadline(after_queueing=timedelta(minutes=15))
    retry: Retry = Retry(attempts=1)
    task_timeout: timedelta = timedelta(minutes=10)
