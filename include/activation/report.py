"""What a run of a sync did, as counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from include.core.errors import BooksDoNotBalance


@dataclass(frozen=True)
class SyncReport:
    """Counts of records: read = unchanged + delivered + rejected + unsent.

    rejected: refused in this run, and held back because they were refused too often (`held` of them). unsent:
    planned, without an answer. Beside these, what left the model: deletes = deleted + deletes_rejected + deletes_unsent.
    `sync_run_id` is the row in `ledger.sync_run`.
    """

    sync: str
    run_id: str
    sync_run_id: int
    model_version: str
    status: str
    read: int
    unchanged: int
    creates: int
    updates: int
    delivered: int
    rejected: int
    held: int
    unsent: int
    deletes: int
    deletes_held: int
    deleted: int
    deletes_rejected: int
    deletes_unsent: int
    seconds: float

    @property
    def missing(self) -> int:
        """Planned, without an answer."""
        return self.unsent + self.deletes_unsent

    def counts(self) -> dict[str, Any]:
        """The report as a mapping: names and numbers only, fit for a log or for another task."""
        return asdict(self)

    def check_books(self) -> None:
        """See that every record that was read has exactly one fate.

        :raises BooksDoNotBalance: one is missing or counted twice.
        """
        fates = self.unchanged + self.delivered + self.rejected + self.unsent
        planned = self.delivered + self.rejected - self.held + self.unsent
        if self.read != fates or self.creates + self.updates != planned:
            raise BooksDoNotBalance(
                "records that were read and what became of them differ",
                where=f"sync {self.sync!r}, sync_run {self.sync_run_id}",
                received=f"read {self.read}, planned {self.creates + self.updates};"
                f" unchanged {self.unchanged}, delivered {self.delivered},"
                f" rejected {self.rejected} (held {self.held}), unsent {self.unsent}",
                allowed="read = unchanged + delivered + rejected + unsent",
                todo="look at ledger.sync_record; a new run sends what is still missing",
            )
        if self.deletes != self.deleted + self.deletes_rejected + self.deletes_unsent:
            raise BooksDoNotBalance(
                "records that left the model and what became of them differ",
                where=f"sync {self.sync!r}, sync_run {self.sync_run_id}",
                received=f"deletes {self.deletes}; deleted {self.deleted}, rejected {self.deletes_rejected},"
                f" unsent {self.deletes_unsent}",
                allowed="deletes = deleted + deletes_rejected + deletes_unsent",
                todo="look at ledger.sync_record; a new run sends what is still missing",
            )
