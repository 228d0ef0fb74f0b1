"""What a contract may say beside `mode: log`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.core.contracts.common import Faults
from include.core.interval import show_duration
from include.core.log_changes import ADDED

if TYPE_CHECKING:
    from include.core.contracts.source import SourceContract
    from include.core.contracts.stream import Stream


def check_log(faults: Faults, stream: Stream) -> None:
    """Faults of a stream of mode log."""
    if not stream.primary_key:
        allowed = (
            "mode: snapshot, or a primary_key beside mode: log, to merge by. A table that has none needs a replica"
            " identity with these columns: alter table … replica identity using index …, or full"
        )
        faults.add("mode", received=stream.mode, allowed=allowed)
    if stream.cursor:
        faults.add("cursor", received=stream.cursor, allowed="no cursor: the log has every change")
    if "deletes" in stream.model_fields_set:
        faults.add("deletes", received=stream.deletes, allowed="nothing: the log tells of each delete")
    if stream.freshness is not None:
        allowed = "no freshness: without a cursor nothing says how old a row is"
        faults.add("freshness", received=show_duration(stream.freshness), allowed=allowed)
    for name in (column.name for column in ADDED):
        if name in stream.read_columns:
            allowed = "another name: changes have their own column of this name; or ignore: true"
            faults.add("columns", name, received=name, allowed=allowed)


def check_slot(faults: Faults, contract: SourceContract) -> None:
    """Faults between streams and the source."""
    if contract.slot and not contract.logged:
        faults.add("slot", received=contract.slot, allowed="no slot: no stream has mode: log")
    if contract.kind != "postgres":
        for number, stream in enumerate(contract.streams):
            if stream.mode == "log":
                allowed = "snapshot, incremental: only the log of PostgreSQL can be read"
                faults.add("streams", number, "mode", received=stream.mode, allowed=allowed)
