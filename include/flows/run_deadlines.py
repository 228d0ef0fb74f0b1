"""What becomes of the deadline of a run that Airflow watches from its queueing on: missed, met, or there at last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from include.core.connection import Connection
from include.core.contracts import SourceContract
from include.core.contracts.common import DagContract
from include.core.contracts.load import DAG_KINDS, name_of
from include.flows.incidents import TELLER
from include.warehouse import deadlines, reached
from include.warehouse.connect import connected
from include.warehouse.deadlines import Deadline, Session

Connect = Callable[[str], Connection]
_RULE = "after_queueing"


@dataclass(frozen=True)
class RunFacts:
    """What is to be known of a run. `interval_end` is that of its data, where a schedule started it."""

    run_id: str
    run_type: str
    run_after: datetime
    interval_end: datetime | None
    started_at: datetime

    @property
    def counts(self) -> bool:
        """Whether somebody relies on it by agreement: a schedule or an asset started it."""
        return self.run_type in ("scheduled", "asset_triggered")

    @property
    def about(self) -> str:
        """What its deadline is about, in the order of time."""
        if self.run_type == "scheduled" and self.interval_end:
            return self.interval_end.astimezone(timezone.utc).isoformat()
        return self.run_id


def ended(connect: Connect, contract: DagContract, run: RunFacts) -> tuple[bool, Deadline | None]:
    """Note that a run has ended. Returns whether its data is there, and the newest deadline that was told as missed and
    whose data is there now.

    A run that somebody started by hand has no row in the history, but it may be late too, and may bring what is waited for.
    """
    kind, name = DAG_KINDS[type(contract)], name_of(contract)
    with connected(connect("warehouse_loader")) as session:
        at = _reached(session, contract, run)
        if at is None:
            return False, None
        deadlines.failed(session, kind, name, told=False)
        limit = contract.deadline.after_queueing
        if limit is None:
            return True, None
        # Counted from its start, it is only sure to be late; what is late from its queueing on, Airflow has told.
        due_at = run.started_at + limit
        if run.counts:
            deadlines.reach(session, (kind, name, _RULE, run.about), due_at, run.run_id, at, met=at <= due_at)
        there = deadlines.over(session, kind, name, _RULE, at, _up_to(kind, run))
    if not there and not run.counts and at > due_at:
        return True, Deadline(kind, name, _RULE, run.about, run.run_id, due_at, False, at, None, None)
    return True, there[-1] if there else None


def missed(connect: Connect, kind: str, name: str, run: RunFacts, due_at: datetime) -> Deadline:
    """Note what Airflow has found: a run that counts was not done by its deadline."""
    with connected(connect(TELLER)) as session:
        return deadlines.miss(session, (kind, name, _RULE, run.about), due_at, run.run_id)


def failed(connect: Connect, kind: str, name: str) -> None:
    """Note that a failure was told, so that who has heard of it does not hear of the deadline too."""
    with connected(connect(TELLER)) as session:
        deadlines.failed(session, kind, name, told=True)


def _reached(session: Session, contract: DagContract, run: RunFacts) -> datetime | None:
    if isinstance(contract, SourceContract):
        streams = [stream.name for stream in contract.streams]
        there = reached.raw(session, contract.source, streams, _end(run))
        return there.at if there else None
    return reached.of_run(session, DAG_KINDS[type(contract)], name_of(contract), run.run_id)


def _end(run: RunFacts) -> datetime:
    """Up to when a run of an ingest brings data."""
    if run.run_type == "scheduled" and run.interval_end:
        return run.interval_end
    return run.run_after.replace(microsecond=0)


def _up_to(kind: str, run: RunFacts) -> str:
    """The newest deadline that a run may end, as its `about`: a run that is queued behind this one is none of it."""
    if kind == "ingest":
        return _end(run).astimezone(timezone.utc).isoformat()
    return (
        run.run_id if run.counts else f"asset_triggered__{run.run_after.astimezone(timezone.utc).isoformat()}"
    )
