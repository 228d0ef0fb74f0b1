"""What all contracts have in common: owner, schedule, alerts, deadline, and the kinds of their values."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from include.core.interval import parse_duration
from include.core.time_of_day import parse_time_of_day


class Model(BaseModel):
    """Strict: an unknown field is an error, because a misspelt one would silently not be enforced."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Faults:
    """Collects what a model as a whole gets wrong, each at its field, so that all is reported at once."""

    def __init__(self) -> None:
        self._found: list[dict[str, Any]] = []

    def add(self, *at: str | int, received: object, allowed: str) -> None:
        """`at` is the way from the model to the field, such as `"references", 0, "stream"`."""
        self._found.append({"at": at, "received": received, "allowed": allowed})

    def raise_any(self) -> None:
        """:raises PydanticCustomError: when there is any; pydantic makes a ValidationError of it."""
        if self._found:
            text = "; ".join(
                f"{'.'.join(map(str, fault['at']))}: {fault['allowed']}" for fault in self._found
            )
            raise PydanticCustomError("faults", "{text}", {"text": text, "faults": self._found})


def _to_duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except (ValueError, OverflowError):
        # a bare number would be taken for seconds, which is seldom what was meant
        raise ValueError("a duration such as 30s, 15m, 2h or 1d 12h") from None


def _to_date(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("a date such as 2026-12-31")  # pydantic would count seconds from 1970
    return value


def _to_moment(value: object) -> object:
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError("a time with its zone, such as 2026-12-24T18:00+01:00")
    return moment


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")  # YAML's yes and no would count as 1 and 0
    return value


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", value):
        raise ValueError("lower case letters, digits and underscores, starting with a letter, 48 at most")
    return value


def parse_rate(text: str) -> tuple[int, float]:
    """`100/10s` as a number of requests and seconds.

    :raises ValueError: the text is not such a rate.
    """
    count, _, period = text.partition("/")
    try:
        rate = int(count), parse_duration(period).total_seconds()
    except ValueError:
        rate = 0, 0.0
    if min(rate) <= 0:
        raise ValueError("a number of requests in a duration, such as 100/10s")
    return rate


def _rate(value: str) -> str:
    parse_rate(value)
    return value


def _time_of_day(value: str) -> str:
    parse_time_of_day(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(_to_duration)]
Day = Annotated[date, BeforeValidator(_to_date)]
Moment = Annotated[datetime, BeforeValidator(_to_moment)]
Count = Annotated[int, BeforeValidator(_no_flag), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_no_flag), Field(ge=0, le=1)]
Number = Annotated[float, BeforeValidator(_no_flag)]
Text = Annotated[str, Field(min_length=1)]
Identifier = Annotated[str, AfterValidator(_identifier)]
RateLimit = Annotated[str, AfterValidator(_rate)]
TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class Accepted(Model):
    """An answer that a question gets when nothing checks it: who accepts that, why, and until when.

    Once `until` has passed the contract no longer holds, and the check says so.
    """

    by: Text = Field(description="Who accepts it.")
    why: Text = Field(description="Why nothing is checked.")
    until: Day = Field(description="The last day on which this holds; the check warns two weeks before.")


class Owner(Model):
    """Who answers for it."""

    team: Text = Field(description="The team that answers for it; the owner shown in the UI.")
    contact: Text = Field(description="An address that a person reads.")


class Escalation(Model):
    """Who is told of a critical incident that nobody has acknowledged."""

    after: Duration = Field(description="How long after it was told an incident may stay unacknowledged.")
    to: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(description="Told then.")


class Maintenance(Model):
    """A time for which incidents are recorded and not told. Those that are still open at its end are told then."""

    start: Moment = Field(description="When it begins.")
    until: Moment = Field(description="When it ends.")
    why: Text = Field(description="What is done then.")

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Maintenance:
        faults = Faults()
        if self.until <= self.start:
            faults.add("until", received=str(self.until), allowed="a time after `start`")
        faults.raise_any()
        return self


class Alerts(Model):
    """Airflow connections (type apprise) that are told, one message for each incident."""

    on_failure: tuple[Text, ...] = Field(default=(), description="Told when a run has failed.")
    on_missed_deadline: tuple[Text, ...] = Field(
        default=(), description="Told when data is late or too old, and when that is over."
    )
    on_warning: tuple[Text, ...] = Field(
        default=(), description="Told when data was published although a rule of severity warning failed."
    )
    consumers: tuple[Text, ...] = Field(
        default=(),
        description="Told, in a short note about the data, when it is late or wrong, by this DAG or by one before it.",
    )
    severity: Literal["critical", "warning"] = Field(
        default="critical",
        description="How grave a failed or late run is. `warning` is neither escalated nor told to consumers.",
    )
    remind_after: Duration = Field(
        default=timedelta(days=1),
        description="For how long an incident that comes again is counted without telling it again.",
    )
    escalate: Escalation | None = Field(
        default=None, description="Who is told when nobody acknowledges a critical incident."
    )
    maintenance: tuple[Maintenance, ...] = Field(
        default=(), description="Times for which incidents are recorded and not told."
    )

    @property
    def channels(self) -> tuple[str, ...]:
        """Every connection of engineers, each once."""
        last = self.escalate.to if self.escalate else ()
        return tuple(dict.fromkeys((*self.on_failure, *self.on_missed_deadline, *self.on_warning, *last)))

    def in_maintenance(self, now: datetime) -> Maintenance | None:
        """The window that `now` lies in."""
        return next((window for window in self.maintenance if window.start <= now < window.until), None)


class Schedule(Model):
    """When an ingest runs by itself: a cron line, the zone it is read in, and the first day it speaks of."""

    cron: str = Field(description="Five fields such as `0 * * * *`, or a word such as `@daily`.")
    timezone: str = Field(default="UTC", description="The zone that the cron line is read in.")
    start: Day = Field(description="The first day that the schedule speaks of.")

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if not croniter.is_valid(value) or len(value.split()) not in (1, 5):
            raise ValueError("a cron line: five fields such as '0 * * * *', or a word such as '@daily'")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("the name of a time zone, such as UTC or Europe/Berlin") from None
        return value


class Deadline(Model):
    """When data is late: so long after its run was queued, or at a time of day that people agreed on. One of the two."""

    after_queueing: Duration | None = Field(
        default=None, description="How long after it was queued a run may take."
    )
    at: TimeOfDay | None = Field(
        default=None,
        description="By when, on each day, consumers have the data of the last interval that ended before: `10:00"
        " Europe/Berlin`; UTC when no zone is named.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Deadline:
        faults = Faults()
        if (self.after_queueing is None) == (self.at is None):
            given = [name for name in ("after_queueing", "at") if getattr(self, name) is not None]
            faults.add("after_queueing", received=given or None, allowed="either after_queueing or at")
        faults.raise_any()
        return self


class Retry(Model):
    """How often a task is tried again after a transient error, and how soon."""

    attempts: Count = Field(default=3, le=20, description="How often a task is tried again; 20 at most.")
    delay: Duration = Field(
        default=timedelta(seconds=30), description="How long it waits before the first retry."
    )


class DagContract(Model):
    """What every contract that becomes a DAG says."""

    version: Literal[1] = Field(default=1, description="The version of this format.")
    description: str = Field(description="What it is, in a sentence.")
    owner: Owner = Field(description="Who answers for it.")
    consumers: tuple[str, ...] = Field(default=(), description="Who is hurt when this is late or wrong.")
    runbook: str = Field(
        default="", description="What to do when it fails, in Markdown; shown in the UI and in alerts."
    )
    tags: tuple[str, ...] = Field(
        default=(), description="Tags of the DAG in the UI, beside those of its kind."
    )
    alerts: Alerts = Field(default=Alerts(), description="Who is told, and of what.")
    deadline: Deadline = Field(description="When its data counts as late.")
    retry: Retry = Field(default=Retry(), description="How tasks are tried again after a transient error.")
    task_timeout: Duration = Field(default=timedelta(hours=1), description="How long one task may take.")
