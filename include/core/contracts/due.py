"""When data has to be there: what a contract's deadline and the schedules of its sources make of the calendar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timezone
from zoneinfo import ZoneInfo

from croniter import croniter

from include.core.contracts.common import Deadline, Schedule
from include.core.time_of_day import next_time, time_before


@dataclass(frozen=True)
class Due:
    """A moment by which the data of some sources has to be with its consumers, of each up to the end of an interval.

    `about` tells it from others of its contract: the moment itself, or the end of the interval of the run that it waits for.
    """

    about: str
    at: datetime
    ends: Mapping[str, datetime]


def end_before(schedule: Schedule, moment: datetime) -> datetime | None:
    """The end of the last interval that ended before this moment; None when none had."""
    end = _boundary_before(schedule, moment)
    return end if _boundary_before(schedule, end) >= _first_day(schedule) else None


def starts(schedule: Schedule, end: datetime, now: datetime) -> list[datetime]:
    """The starts of the interval that ends then and of all that have ended since; the newest hundred."""
    found: list[datetime] = []
    while (moment := end_before(schedule, now)) and moment >= end and len(found) < 100:
        now = moment
        found.append(_boundary_before(schedule, moment))
    return found


def ends_by(at: str, schedules: Mapping[str, Schedule], due: datetime) -> dict[str, datetime]:
    """Of each source, the end of the last interval before a time of day: what has to be there by then."""
    ends = {source: end_before(schedule, due) for source, schedule in schedules.items()}
    return {source: end for source, end in ends.items() if end is not None}


def dues(deadline: Deadline, schedules: Mapping[str, Schedule], after: datetime) -> Iterator[Due]:
    """What is due after this moment, one by one.

    A time of day is due on days on which some source's interval has ended since the day before. Runs that the end of an
    interval starts are due so long after it; of others nobody knows when they will begin, so give no schedules for them.
    """
    if deadline.at is not None:
        yield from _at(deadline.at, schedules, after)
        return
    for source, schedule in schedules.items():
        assert deadline.after_queueing is not None
        end = max(after - deadline.after_queueing, _first_day(schedule))
        while True:
            end = _boundary_after(schedule, end)
            if end_before(schedule, _boundary_after(schedule, end)) is not None:
                yield Due(end.isoformat(), end + deadline.after_queueing, {source: end})


def _at(at: str, schedules: Mapping[str, Schedule], after: datetime) -> Iterator[Due]:
    for _day in range(3660):
        after = next_time(at, after)
        ends = ends_by(at, schedules, after)
        if any(end >= time_before(at, after) for end in ends.values()):
            yield Due(after.isoformat(), after, ends)


def _first_day(schedule: Schedule) -> datetime:
    return datetime.combine(schedule.start, time.min, timezone.utc)


def _boundary_before(schedule: Schedule, moment: datetime) -> datetime:
    return next(found for found in _boundaries(schedule, moment, back=True) if found < moment)


def _boundary_after(schedule: Schedule, moment: datetime) -> datetime:
    return next(found for found in _boundaries(schedule, moment, back=False) if found > moment)


def _boundaries(schedule: Schedule, moment: datetime, *, back: bool) -> Iterator[datetime]:
    """As Airflow's timetables find them: on the clock of the zone. Near a change of clocks some lie on the wrong side."""
    zone = ZoneInfo(schedule.timezone)
    cron = croniter(schedule.cron, moment.astimezone(zone).replace(tzinfo=None))
    while True:
        found: datetime = cron.get_prev(datetime) if back else cron.get_next(datetime)
        yield found.replace(tzinfo=zone).astimezone(timezone.utc)
