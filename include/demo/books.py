"""What the actions of the traffic share: the books of a transaction, and how a row is picked at random."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

Cursor = psycopg.Cursor[tuple[Any, ...]]


@dataclass
class Books:
    """Rows changed, by table."""

    inserts: Counter[str] = field(default_factory=Counter)
    updates: Counter[str] = field(default_factory=Counter)
    deletes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Books) -> None:
        self.inserts.update(other.inserts)
        self.updates.update(other.updates)
        self.deletes.update(other.deletes)


def pick(
    cursor: Cursor, rng: random.Random, table: str, key: str, where: str, columns: str
) -> tuple[Any, ...] | None:
    """One random row that satisfies `where` and that nobody else has locked; locked for us. Names are this
    module's own."""
    query = (
        f"select {columns} from shop.{table} as t"
        f" where {where} and {key} >= floor(%s * (select max({key}) from shop.{table}))"
        f" order by {key} limit 1 for update skip locked"
    )
    for start in (rng.random(), 0.0):
        row = cursor.execute(query.encode(), (start,)).fetchone()
        if row is not None:
            return row
    return None
