"""What a contract with faults still says: whatever in it is right by itself, and a default for the rest.

Its pipeline cannot run, but it can fail at its time and tell those who rely on it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from include.core.contracts.common import Alerts, DagContract, Deadline, Identifier, Model, Owner, Schedule
from include.core.contracts.document import readable_data

M = TypeVar("M", bound=Model)


class StillSaid(DagContract):
    """The fields that say when a pipeline starts, who answers for it and who is told, of any kind of contract."""

    description: str = "Its contract has faults."
    owner: Owner = Owner(team="unknown", contact="unknown")
    alerts: Alerts = Alerts(on_failure=("alerts",))
    deadline: Deadline = Deadline(after_queueing=timedelta(hours=1))
    schedule: Schedule = Schedule(cron="0 * * * *", start=date(2000, 1, 1))
    sources: tuple[Identifier, ...] = ()
    transform: Identifier | None = None


def still_said(path: Path) -> StillSaid:
    """What the file says in spite of its faults. Raises nothing: of a file that is no YAML all is default."""
    return _taken(StillSaid(), readable_data(path))


def _taken(model: M, told: Any) -> M:
    """The model with each of the told fields that is right by itself, or as much of it as is."""
    for name, value in told.items() if isinstance(told, dict) else ():
        known = getattr(model, name, None)
        for form in (value, _taken(known, value)) if isinstance(known, Model) else (value,):
            with suppress(ValidationError):
                model = model.model_validate({**dict(model), name: form})
                break
    return model
