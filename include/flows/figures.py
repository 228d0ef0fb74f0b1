"""The history of figures, for people who look at it and who say what counts in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from include.flows.status import Connect
from include.warehouse import metrics
from include.warehouse.connect import connected

_STATES = {"incident": "left_out", "normal": "normal"}


def datasets(connect: Connect) -> list[dict[str, Any]]:
    """What is watched: dataset, batches, the newest one, and how many of its figures were out of their limits."""
    with connected(connect("warehouse_developer")) as session:
        return metrics.datasets(session)


def points(connect: Connect, dataset: str, column: str, last: int) -> list[dict[str, Any]]:
    """Rows of `ledger.metric` of the last batches, the oldest first. :param column: empty for the whole."""
    with connected(connect("warehouse_developer")) as session:
        return metrics.points(session, dataset, column, last)


def columns(connect: Connect, dataset: str) -> list[str]:
    """The columns of which there are figures."""
    with connected(connect("warehouse_developer")) as session:
        return metrics.columns(session, dataset)


def mark(connect: Connect, dataset: str, since: datetime, until: datetime | None, how: str) -> int:
    """Say what the batches of a time are: an `incident`, which is no history, or the begin of what is `normal` now.

    Returns how many batches that was said of.
    """
    with connected(connect("warehouse_loader")) as session:
        return metrics.mark(session, dataset, since, until, _STATES[how])
