"""Which run to wait for, and for how long, judged by a DAG's runs as Airflow's API lists them, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SECONDS = 60


def going(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The ids of the runs that have not ended, oldest first: a DAG has one run at a time, the newer ones wait."""
    return [str(run["dag_run_id"]) for run in reversed(runs) if run["state"] in ("queued", "running")]


class Patience:
    """How long a run may take to be started by what it waits for.

    Airflow starts no run on an asset event while the DAG has one already, however long that takes; so the clock stands
    until it has ended. Times are in seconds of one and the same clock.
    """

    def __init__(self, now: float) -> None:
        self._until = now + _SECONDS

    def ends(self, runs: Sequence[dict[str, Any]], now: float) -> bool:
        """Whether it is time to give up."""
        if going(runs):
            self._until = now + _SECONDS
        return now > self._until
