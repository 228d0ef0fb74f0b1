"""Whether a transform has followed its sources: judged from the ledger, whatever became of Airflow's asset events.

Airflow starts one run for events that come close together, and may note the last of them as seen by nobody. What was
published before a run began is in it all the same; what was published after the last one began must not wait for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from include.core.connection import Connection
from include.core.contracts import TransformContract, load_one
from include.core.contracts.load import contract_files
from include.core.errors import ContractError
from include.warehouse import forgotten
from include.warehouse.connect import connected

#: How long Airflow has to start a run for an event.
PATIENCE = timedelta(minutes=2)


def behind(connect: Callable[[str], Connection], now: datetime) -> dict[str, int]:
    """The transforms that have not begun since a source of theirs was published, each with that load."""
    with connected(connect("warehouse_transformer")) as session:
        found = {
            contract.transform: forgotten.unseen(
                session, contract.transform, contract.sources, now - PATIENCE
            )
            for contract in _transforms()
        }
    return {name: load_id for name, load_id in found.items() if load_id is not None}


def started(connect: Callable[[str], Connection], transform: str, load_id: int) -> None:
    """Note that a run was started for a load: once, so that one that cannot begin is not started for ever."""
    with connected(connect("warehouse_transformer")) as session:
        forgotten.started(session, transform, load_id)


def _transforms() -> Iterator[TransformContract]:
    for path in contract_files(TransformContract):
        try:
            yield load_one(TransformContract, path)
        except ContractError:
            continue
