"""What all contracts have in common: owner, schedule, alerts, deadline."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from include.core.interval import parse_duration


class Model(BaseModel):
    """Strict: an unknown field is an error, because a misspelt one would silently not be enforced."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _to_duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", value):
        raise ValueError("must be lower case letters, digits and underscores, starting with a letter, 48 at most")
    return value


Duration = Annotated[timedelta, BeforeValidator(_to_duration)]
Identifier = Annotated[str, AfterValidator(_identifier)]


class Accepted(Model):
    """An answer that a question gets when nothing checks it: who accepts that, why, and until when.

    Once `until` has passed the contract no longer holds, and the check says so.
    """

    by: str
    why: str
    until: date


class Owner(Model):
    """Who answers for it."""

    team: str
    contact: str = Field(description="An address that a person reads.")


class Alerts(Model):
    """Airflow connections (type apprise) that are told."""

    on_failure: tuple[str, ...] = ()
    on_missed_deadline: tuple[str, ...] = ()


class Schedule(Model):
    """When an ingest runs by itself: a cron line, the zone it is read in, and the first day it speaks of."""

    cron: str
    timezone: str = "UTC"
    start: date

    @model_validator(mode="after")
    def _readable(self) -> Schedule:
        from zoneinfo import ZoneInfo

        from croniter import croniter

        if not croniter.is_valid(self.cron):
            raise ValueError(f"cron line {self.cron!r} is not valid (allowed: five fields such as '0 * * * *')")
        try:
            ZoneInfo(self.timezone)
        except Exception:  # zoneinfo raises several unrelated types for a bad key
            raise ValueError(f"timezone {self.timezone!r} is not known (allowed: names such as 'Europe/Berlin')") from None
        return self


class Deadline(Model):
    """How long after it was queued a run may take before people are told."""

    after_queueing: Duration


class Retry(Model):
    """How often a task is tried again after a transient error, and how long it waits before the first retry."""

    attempts: int = Field(default=3, ge=0, le=20)
    delay: Duration = timedelta(seconds=30)


class DagContract(Model):
    """What every contract that becomes a DAG says."""

    version: Literal[1] = 1
    description: str
    owner: Owner
    consumers: tuple[str, ...] = Field(default=(), description="Who is hurt when this is late or wrong.")
    runbook: str = Field(default="", description="What to do when it fails, in Markdown; shown in the UI and in alerts.")
    tags: tuple[str, ...] = ()
    alerts: Alerts = Alerts()
    deadline: Deadline
    retry: Retry = Retry()
    task_timeout: Duration = timedelta(hours=1)
