"""What the ledger says about the state of things."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from include.core.connection import Connection
from include.warehouse.connect import connected

_LAST_GOOD = {
    "ingest": "select max(published_at) from ledger.load where source = %s and status = 'published'",
    "transform": "select max(published_at) from ledger.publication where transform = %s",
    "activate": "select max(finished_at) from ledger.sync_run where sync = %s and status = 'delivered'",
}


def last_good(kind: str, name: str, connect: Callable[[str], Connection]) -> datetime | None:
    """When an ingest, transform or activation last reached its consumers; None when it never did.

    :param kind: ingest, transform or activate.
    """
    with connected(connect("warehouse_developer")) as session:
        row = session.execute(_LAST_GOOD[kind].encode(), (name,)).fetchone()
    return row[0] if row else None
