"""The month waits for its days: which months a transform closes, judged from contracts and ledger as deadlines are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from include.core import months as calendar
from include.core.connection import Connection
from include.core.contracts import SourceContract, TransformContract, load_named
from include.core.errors import ContractError, TerminalError
from include.flows.deadlines import committed
from include.flows.incidents import TELLER
from include.warehouse import months
from include.warehouse.connect import connected
from include.warehouse.reached import BuiltFrom

log = logging.getLogger("millrace.transform")
Connect = Callable[[str], Connection]


def mark(session: Any, contract: TransformContract, run_id: str, built: BuiltFrom) -> list[date]:
    """Before a build: the months that it has to build, because all their days are there now, or one was published again.

    A day is published when every stream of every source is committed beyond its end, by however many runs.
    """
    if contract.closes_months_from is None:
        return []
    end = _published_until(contract, built)
    over = list(calendar.whole(contract.closes_months_from, end)) if end else []
    return months.mark(session, contract.transform, run_id, contract.sources, over)


def _published_until(contract: TransformContract, built: BuiltFrom) -> datetime | None:
    """Up to when all streams of all sources are committed; None when one never was, or a source cannot be known."""
    try:
        ends = [committed(built, load_named(SourceContract, source)) for source in contract.sources]
    except ContractError as error:
        # Its own DAG fails and tells; this one builds what there is, and closes nothing.
        log.warning("no month is closed while a source's contract has faults: %s", error)
        return None
    return min(end for end in ends if end) if all(ends) else None


def reopen(connect: Connect, transform: str, month: date, by: str, why: str) -> int:
    """Have a closed month built again by the next run. Returns its new version.

    :raises TerminalError: the month is not closed.
    """
    with connected(connect(TELLER)) as session:
        version = months.reopen(session, transform, month, f"{by}: {why}")
    if version is None:
        raise TerminalError(
            "this month is not closed, so nothing has to open it",
            where=f"transform {transform!r}",
            received=f"{month:%Y-%m}",
            allowed="a month that `millrace months` shows as closed",
        )
    return version


def history(connect: Connect, transform: str) -> list[dict[str, Any]]:
    """The rows of `ledger.month`, the newest month first."""
    with connected(connect(TELLER)) as session:
        return months.history(session, transform)
