"""Whether a destination still holds what it acknowledged: read back, compared, and what others changed there told.

Only records that are in the model as they were acknowledged are looked at; all others are sent by the next run anyway.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from include.activation.destinations import Comparable, open_destination
from include.activation.drift import Book
from include.activation.planning import open_acknowledged
from include.activation.records import Record
from include.activation.session import only_writer, warehouse_session
from include.activation.state import recover
from include.core.connection import Connection
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError

_log = logging.getLogger("millrace.activation")
_EXAMPLES = 5


@dataclass
class Verification:
    """What was found, as numbers of records: of those checked, some are not there, and some differ in some fields.

    overwritten: of the drifted, those that the next run sends again. fields: how many differ in which. examples: keys of
    the first, and by what each differs.
    """

    sync: str
    checked: int = 0
    missing: int = 0
    differing: int = 0
    overwritten: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def drifted(self) -> int:
        return self.missing + self.differing

    def __str__(self) -> str:
        """In sentences, without any value of a record but its key."""
        lines = [
            f"sync {self.sync!r}: of {self.checked} records that the destination acknowledged, {self.differing} differ"
            f" there and {self.missing} are gone"
        ]
        if self.fields:
            lines.append(
                "  fields: " + ", ".join(f"{name} ({count})" for name, count in self.fields.most_common())
            )
        lines += [f"  {key}: {what}" for key, what in self.examples.items()]
        if self.drifted > len(self.examples):
            lines.append(f"  and {self.drifted - len(self.examples)} more: ledger.sync_drift has them all")
        if self.drifted:
            lines.append(
                f"  {self.overwritten} are sent again by the next run"
                if self.overwritten
                else "  what to do: find out who writes there; `millrace sync verify NAME --overwrite`, or"
                " `on_drift: overwrite` in the contract, has the next run send them again"
            )
        return "\n".join(lines)


def verify(
    contract: SyncContract,
    warehouse: Connection,
    destination: Connection,
    *,
    run_id: str,
    everything: bool,
    overwrite: bool,
) -> Verification:
    """Compare what the destination holds with what it acknowledged. What is found is kept in `ledger.sync_verification`.

    :param everything: all records, not a sample. :param overwrite: what drifted is sent again by the next run.
    :raises ContractError: this destination cannot be read back, or the mode lets others change it.
    :raises TransientError: LeaseHeld when a run delivers this sync, Unreachable when the warehouse or the destination does
        not answer.
    :raises TerminalError: the destination refuses to be read; the model is not published.
    """
    found = Verification(contract.sync)
    with warehouse_session(warehouse, contract.sync) as session, only_writer(session, contract.sync):
        recover(session, contract.sync)
        target = open_destination(contract, destination, warehouse)
        try:
            if not (contract.can_verify and isinstance(target, Comparable) and target.can_compare):
                raise ContractError(
                    "what this sync delivers cannot be verified",
                    where=f"sync {contract.sync!r}",
                    received=f"destination of type {contract.destination.type}, mode {contract.mode}",
                    allowed="a destination that can be read back, in mode upsert, update or mirror",
                )
            target.check()
            limit = None if everything else contract.verify_sample
            book = Book(session, contract.sync, run_id, "all" if everything else "sample")
            with open_acknowledged(session, contract, limit) as cursor:
                while rows := cursor.fetchmany(contract.batch_size):
                    batch = [Record(*row) for row in rows]
                    _compare(target, batch, book, found, overwrite=overwrite)
            book.close(found.checked, found.missing, found.differing, found.overwritten)
        finally:
            target.close()
    _log.info(
        "%s: of %d records, %d differ at the destination and %d are gone",
        *(found.sync, found.checked, found.differing, found.missing),
    )
    return found


def _compare(
    target: Comparable, batch: list[Record], book: Book, found: Verification, *, overwrite: bool
) -> None:
    compared = zip(batch, target.compare(batch), strict=True)
    drifted = [(record, difference) for record, difference in compared if difference]
    found.checked += len(batch)
    for record, difference in drifted:
        if difference.missing:
            found.missing += 1
        else:
            found.differing += 1
            found.fields.update(difference.fields)
        if len(found.examples) < _EXAMPLES:
            found.examples[record.key] = (
                "is not there" if difference.missing else ", ".join(difference.fields)
            )
    if drifted:
        found.overwritten += book.note(drifted, overwrite=overwrite)
