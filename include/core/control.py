"""Control limits: whether a figure of a batch is what its history lets expect. Arithmetic only.

| step | how | after |
|---|---|---|
| scale | counts and times by logarithm, shares by arcsine of the root, others plain | Bartlett 1947: even noise |
| centre | median of what is comparable: same weekday, or the same edge of a month | |
| spread | 1.4826 · MAD of what is left without each point's own centre | Rousseeuw and Croux 1993 |
| width | Student's t, 0.37 degrees of freedom a point: what a MAD of so few is worth | its efficiency, ibid. |
| chance | what a figure of so many rows varies by itself: limits are never closer | |
| false alarms | 0.2 % a run, divided by all figures that are judged in it | Bonferroni |

Nor are limits ever closer than what nobody wants to be told of. The point under test has no part in any of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from statistics import median

#: Points before there are limits: two weeks of days, so that a weekend was seen twice.
NEEDED = 14
#: Points of the same weekday, or of the same edge of a month, before they are compared among themselves.
ALIKE = 4
#: False alarms a run, over all that is judged in it. The promise is 1 in 100; what a normal distribution does not say of the
#: world (weeks that differ, rows that come in groups) has the rest.
FALSE_ALARMS = 0.002
_EFFICIENCY = 0.37
_FINEST = 1e-9


@dataclass(frozen=True)
class Scale:
    """On what scale a metric's noise is even: `to` and `back`; a change of less than `least` there is never told.

    Where one row's standard deviation on the scale is known beforehand, it is `noise`. `by_rows`: it grows with the rows
    of a batch. Of a plain metric `least` is in standard deviations of one row.
    """

    to: Callable[[float], float]
    back: Callable[[float], float]
    least: float
    noise: float = 0.0
    by_rows: bool = False


def _logarithm(offset: float, least: float, noise: float = 0.0) -> Scale:
    return Scale(
        lambda x: math.log(offset + max(x, 0.0)),
        lambda y: max(math.exp(min(y, 700)) - offset, 0.0),
        least, noise, by_rows=True,
    )  # fmt: skip


_SHARE = Scale(
    lambda x: math.asin(math.sqrt(min(max(x, 0.0), 1.0))),
    lambda y: math.sin(min(max(y, 0.0), math.pi / 2)) ** 2,
    least=0.05,
    noise=0.5,
)
_PLAIN = Scale(lambda x: x, lambda y: y, least=0.1)
# Of values that are whole numbers it jumps from one to the next.
_QUANTILE = Scale(lambda x: x, lambda y: y, least=0.5)
#: Every metric there is. `typical` is the mean when the outer twentieths count as the values at their edges; of a text the
#: figures are those of its length, of a time those of its age.
METRICS: dict[str, Scale] = {
    "rows": _logarithm(1, least=0.3, noise=1.0),
    "bytes": _logarithm(1, least=0.5),
    "seconds": _logarithm(10, least=1.2),
    "lag": _logarithm(3600, least=1.0),
    "interval": _logarithm(60, least=0.3),
    "nulls": _SHARE,
    "true": _SHARE,
    "distinct": _logarithm(1, least=0.5),
    "typical": _PLAIN,
    "mean": _PLAIN,
    "p05": _QUANTILE,
    "p50": _QUANTILE,
    "p95": _QUANTILE,
}


@dataclass(frozen=True)
class Figure:
    """One figure of a batch; `column` is empty for one of the whole batch. See `Point` for `sample` and `spread`.

    `unit` is seconds or characters; else it is a count, a share or of the column's own unit, by its metric.
    """

    metric: str
    column: str
    value: float
    sample: int
    spread: float = 0.0
    unit: str = ""


@dataclass(frozen=True)
class Point:
    """One figure of the past. `sample` is the rows that it was made of, `spread` the standard deviation of one row.

    `state`: quiet, in, out, left_out (of a backfill, an incident), or normal: from here on a new level is right.
    """

    at: datetime
    value: float
    sample: int
    spread: float = 0.0
    state: str = "in"


@dataclass(frozen=True)
class Judgement:
    """What is said of a figure: quiet (not enough history), in or out; the limits that it was held against, and the number
    and kind of points that made them."""

    state: str
    points: int
    low: float | None = None
    high: float | None = None
    compared: str = ""


def judge(
    metric: str,
    past: Sequence[Point],
    at: datetime,
    value: float,
    sample: int,
    *,
    zone: tzinfo,
    judged: int = 1,
    spread: float = 0.0,
) -> Judgement:
    """Hold a figure against its past.

    :param past: earlier points, the oldest first. :param zone: where a day begins. :param judged: figures of the same run
        that are judged, too. :param spread: standard deviation of one of its rows, used while the past knows of none.
    """
    scale, points = METRICS[metric], usable(past)
    if len(points) < NEEDED:
        return Judgement("quiet", len(points))
    hour = [point for point in points if point.at.astimezone(zone).hour == at.astimezone(zone).hour]
    # Where there is not enough of this time of day, whatever was seen at any time is ordinary.
    points, alike = (hour, True) if len(hour) >= NEEDED else (points, False)
    about = _expected(scale, points, at.astimezone(zone), zone, alike)
    free = max(len(about.rest) - about.centres, 1)
    robust = 1.4826 * median(map(abs, about.rest)) * math.sqrt(len(about.rest) / free)
    if not scale.by_rows:  # fewer rows than usual vary more
        robust *= max(1.0, math.sqrt(median(point.sample for point in points) / max(sample, 1)))
    chance, least = _chance(scale, points, about.low, sample, spread)
    alarms = FALSE_ALARMS / max(judged, 1)
    seen, expected = robust * _student(alarms, max(_EFFICIENCY * free, 1.0)), chance * _student(alarms, 1e6)
    width = max(max(seen, expected) * math.sqrt(1 + math.pi / (2 * about.alike)), least) * about.wider
    low, high = about.low - width, about.high + width
    state = "in" if low <= scale.to(value) <= high else "out"
    return Judgement(state, len(points), scale.back(low), scale.back(high), about.compared)


@dataclass(frozen=True)
class _Expected:
    """What the past lets expect, on the scale: between `low` and `high`, as `alike` points say; what is left of all points
    without the `centres` of their groups; and how much wider limits are where too little is known."""

    low: float
    high: float
    alike: int
    rest: list[float]
    centres: int
    wider: float
    compared: str


def _expected(scale: Scale, points: Sequence[Point], at: datetime, zone: tzinfo, alike: bool) -> _Expected:
    days: dict[int, list[float]] = {}
    edges: list[tuple[int, float]] = []
    for point in points:
        day, value = point.at.astimezone(zone), scale.to(point.value)
        if _edge(day):
            edges += [(day.weekday(), value)] if _edge(day) == _edge(at) else []
        else:
            days.setdefault(day.weekday(), []).append(value)
    centres = {day: median(values) for day, values in days.items() if len(values) >= ALIKE}
    if not alike or at.weekday() not in centres:
        every = [scale.to(point.value) for point in points]
        centre, compared = median(every), f"{len(every)} batches of any day{'' if alike else ' and time'}"
        rest, wider = [value - centre for value in every], 2.0 if _edge(at) else 1.0
        return _Expected(min(every), max(every), len(every), rest, 1, wider, compared)
    rest = [value - centres[day] for day in centres for value in days[day]]
    centre, same = centres[at.weekday()], len(days[at.weekday()])
    compared = f"{same} {at:%A}s"
    if not _edge(at):
        return _Expected(centre, centre, same, rest, len(centres), 1.0, compared)
    # Anything from an ordinary day to what this edge of a month has brought beyond one.
    beyond = [value - centres[day] for day, value in edges if day in centres]
    low, high = centre + min((0.0, *beyond)), centre + max((0.0, *beyond))
    compared += f" and {len(beyond)} {_edge(at)} days of a month"
    return _Expected(low, high, same, rest, len(centres), 1.0 if len(beyond) >= ALIKE else 2.0, compared)


def _edge(day: datetime) -> str:
    """Whether it is the first or the last day of a month: books are closed, salaries paid."""
    if (day + timedelta(days=1)).day == 1:
        return "last"
    return "first" if day.day == 1 else ""


def usable(past: Sequence[Point]) -> list[Point]:
    """The points that limits are made of: none that was out, unless it was the first of a level that has lasted since.

    A level has lasted when so many points in a row were out as it takes to learn one; or when somebody said so.
    """
    kept: list[Point] = []
    out: list[Point] = []
    for point in past:
        if point.state == "left_out":
            continue
        if point.state == "out":
            out.append(point)
            if len(out) >= NEEDED:
                kept, out = out, []
            continue
        kept, out = ([] if point.state == "normal" else kept) + [point], []
    return kept


def _chance(
    scale: Scale, points: Sequence[Point], around: float, sample: int, spread: float
) -> tuple[float, float]:
    """On the scale: the spread that chance alone gives a figure of so many rows, and the least change that is told."""
    if scale.by_rows:
        return scale.noise / math.sqrt(1 + scale.back(around)), scale.least
    if scale.noise:
        return scale.noise / math.sqrt(max(sample, 1)), scale.least
    row = median(point.spread for point in points) or spread
    return row / math.sqrt(max(sample, 1)), max(scale.least * row, abs(around) / 100, _FINEST)


@lru_cache(maxsize=4096)
def _student(alpha: float, free: float) -> float:
    """The value that Student's t is beyond, on either side, with probability `alpha`."""
    low, high = 0.0, 1.0
    while _beyond(high, free) > alpha:
        low, high = high, high * 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _beyond(middle, free) > alpha else (low, middle)
    return high


def _beyond(t: float, free: float) -> float:
    """P(|T| > t): the regularised incomplete beta function of (free / 2, 1 / 2) at free / (free + t²), by its continued
    fraction (Abramowitz and Stegun 26.5.8, evaluated as Lentz does)."""
    a, b, x = free / 2, 0.5, free / (free + t * t)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges for the complement
        return 1 - _beta(b, a, 1 - x)
    return _beta(a, b, x)


def _beta(a: float, b: float, x: float) -> float:
    if x <= 0:
        return 0.0
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny, c, d = 1e-300, 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d or tiny)
    fraction = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return math.exp(logs) * fraction / a
