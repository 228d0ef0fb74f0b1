"""What an incident is, and the key by which two failures are known to have one cause."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from include.core.contracts.common import Alerts
from include.core.errors import MillraceError

#: What may open an incident, and the field of `alerts` that says who is told.
EVENTS = {"failure": "on_failure", "missed_deadline": "on_missed_deadline", "warning": "on_warning"}
#: All failures of a backfill are one incident.
BACKFILL = "backfill"
_LONGEST = 500
# Numbers, times and ids that differ from run to run; what follows a letter or an underscore belongs to a name, but for the
# load in the name of a staging batch.
_VARYING = re.compile(r"(?<=\brows_)[0-9]+|(?<![A-Za-z_])[0-9]+(?:[.,:T+-][0-9]+)*")


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong in a run, as it is told.

    :param kind: of the DAG: ingest, transform, activate or maintain. :param name: of its contract.
    :param event: one of `EVENTS`. :param causes: one key for each thing that is wrong, see `causes_of`.
    :param title: one line. :param what: the whole message. :param link: where one reads more.
    """

    kind: str
    name: str
    event: str
    causes: tuple[str, ...]
    title: str
    what: str
    run_id: str
    link: str
    backfill: bool = False


@dataclass(frozen=True)
class Incident:
    """One row of `ledger.incident`: a cause of trouble from when it was first seen until it is over."""

    incident_id: int
    kind: str
    name: str
    event: str
    backfill: bool
    cause: str
    severity: str
    title: str
    what: str
    run_id: str
    link: str
    opened_at: datetime
    last_seen_at: datetime
    occurrences: int
    told_at: datetime | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    note: str | None
    escalated_at: datetime | None
    resolved_at: datetime | None
    resolved_by: str | None

    @property
    def trouble(self) -> Trouble:
        """What was seen of it last."""
        return Trouble(
            self.kind, self.name, self.event, (self.cause,), self.title, self.what, self.run_id, self.link,
            self.backfill,
        )  # fmt: skip


def severity_of(event: str, alerts: Alerts) -> str:
    """How grave it is: critical or warning."""
    return "warning" if event == "warning" else alerts.severity


def channels_for(event: str, alerts: Alerts) -> tuple[str, ...]:
    """The connections that are told of it."""
    return tuple(dict.fromkeys(getattr(alerts, EVENTS[event])))


def causes_of(step: str, error: object, run_id: str) -> tuple[str, ...]:
    """The keys of a failure: the same in every retry, mapped task and later run that fails for the same reason.

    :param step: the task's id, without the index of a mapped one. :param error: what it failed with.
    """
    kind = type(error).__name__ if isinstance(error, BaseException) else "failed"
    if isinstance(error, MillraceError):
        told = error.causes or (f"{error.where}: {error.what}",)
    else:
        told = ((str(error or "").strip().splitlines() or ["no reason given"])[0],)
    return tuple(dict.fromkeys(_key(f"{step}: {kind}: {one}", run_id) for one in told))


def _key(text: str, run_id: str) -> str:
    if run_id:
        text = text.replace(run_id, "RUN")
    key = _VARYING.sub("#", " ".join(text.split()))
    if len(key) <= _LONGEST:
        return key
    return f"{key[:_LONGEST]}… {hashlib.sha256(key.encode()).hexdigest()[:12]}"
