"""Figures and their limits as text that is legible in a terminal, a mail and a chat."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_SHARES = ("nulls", "true")
_WORDS = {
    "rows": "rows",
    "bytes": "bytes",
    "seconds": "time of reading",
    "lag": "age of the newest row",
    "interval": "interval",
    "nulls": "share of nulls in {}",
    "distinct": "distinct values of {}",
    "true": "share of true in {}",
    "typical": "typical {}",
    "mean": "mean {}",
    "p05": "5 % quantile of {}",
    "p50": "median of {}",
    "p95": "95 % quantile of {}",
}
_OF = {"seconds": "age of {}", "characters": "length of {}"}


def words(metric: str, column: str, unit: str) -> str:
    """What a figure is, such as `typical length of note`."""
    return _WORDS[metric].format(_OF.get(unit, "{}").format(column) if column else "")


def shown(metric: str, value: float, unit: str) -> str:
    """A value as people read it."""
    if metric in _SHARES:
        return f"{value:.2%}"
    if unit == "seconds":
        return _duration(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _duration(seconds: float) -> str:
    for size, name in ((86400 * 365.25, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:.1f} s"


def line(past: Sequence[float], value: float) -> str:
    """The past as a row of bars, and the newest value after a gap: `▃▄▃▅▄▃ █`. All are on one scale from their least."""
    least, most = min((*past, value)), max((*past, value))
    height = (most - least) or 1.0
    bars = [_BARS[round((one - least) / height * (len(_BARS) - 1))] for one in (*past, value)]
    return f"{''.join(bars[:-1])} {bars[-1]}"


def place(value: float, low: float | None, high: float | None, width: int = 21) -> str:
    """Where a value stands between its limits: `·······│····●····│·······`; nothing without limits."""
    if low is None or high is None:
        return ""
    third = width // 3
    where = third + round((value - low) / ((high - low) or 1.0) * third) if high > low or value == low else 0
    where = min(max(where, 0), width - 1)
    marks = ["│" if number in (third, 2 * third) else "·" for number in range(width)]
    marks[where] = "●"
    return "".join(marks)
