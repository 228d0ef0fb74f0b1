"""Lets a run be cleared while its deadline is still ahead.

Airflow 3.3 adds the deadline's interval to the new time of queueing, but reads it as a number of seconds where its own
models keep a serialised timedelta: the clear button and the API answer 500. What it means to do is to move the deadline by
as much as the run was queued later; this does that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.models import taskinstance
from airflow.models.deadline import Deadline
from airflow.plugins_manager import AirflowPlugin


def move_deadlines(dagrun: Any, new_queued_at: datetime, session: Any) -> None:
    """Move the deadlines of a run that were not missed yet. All that Airflow keeps for us count from the queueing."""
    if dagrun.queued_at is None:
        return
    for deadline in session.query(Deadline).filter_by(dagrun_id=dagrun.id, missed=False):
        deadline.deadline_time += new_queued_at - dagrun.queued_at


class ClearedDeadlines(AirflowPlugin):
    """Loaded by the api-server and the scheduler, which are the ones that clear runs."""

    name = "cleared_deadlines"


taskinstance._recalculate_dagrun_queued_at_deadlines = move_deadlines
