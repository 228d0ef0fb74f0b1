"""Which transactions a snapshot sees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """A snapshot as `pg_current_snapshot()` writes it: transactions before `oldest` were over, those from `newest` on had
    not begun, and of those between, `running` had not ended. Numbers have 64 bits and are of top-level transactions
    (https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT-PARTS)."""

    oldest: int
    newest: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Seen:
        oldest, newest, running = text.split(":")
        return cls(int(oldest), int(newest), frozenset(int(xid) for xid in running.split(",") if xid))

    def __contains__(self, xid: int) -> bool:
        """Whether what this transaction wrote is seen, provided that it has committed."""
        return xid < self.oldest or (xid < self.newest and xid not in self.running)

    def full(self, xid: int) -> int:
        """The number of 64 bits of a transaction in the log, which knows the lower 32 alone.

        A server never has transactions in use that lie 2^31 apart, so it is the one nearest to where this snapshot stands.
        """
        distance = (xid - self.newest) & 0xFFFFFFFF
        return self.newest + (distance - (1 << 32) if distance >= 1 << 31 else distance)
