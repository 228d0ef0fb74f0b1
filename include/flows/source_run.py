"""One run of one source: what its steps share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from include.core.connection import Connection
from include.core.contracts.source import SourceContract
from include.core.errors import TerminalError
from include.core.manifest import Manifest
from include.landing import LandingZone, ObjectStore
from include.warehouse import ledger
from include.warehouse.connect import connected


@dataclass(frozen=True)
class SourceRun:
    """A contract, the run of its DAG, and `connect`, which finds a connection by its id."""

    contract: SourceContract
    connect: Callable[[str], Connection]
    run_id: str

    @property
    def where(self) -> str:
        """Where an error happened, for its message."""
        return f"source {self.contract.source!r}"

    def loader(self) -> Connection:
        """The warehouse, as the role that loads."""
        return self.connect("warehouse_loader")

    def zone(self) -> LandingZone:
        """The landing zone."""
        return LandingZone(ObjectStore(self.connect("landing")))

    def heartbeat(self, load_id: int) -> Callable[[int], None]:
        """Called often while long work goes on; renews the lease now and then."""
        last = [time.monotonic()]

        def beat(_rows: int) -> None:
            if time.monotonic() - last[0] > ledger.LEASE.total_seconds() / 5:
                last[0] = time.monotonic()
                with connected(self.loader()) as session:
                    ledger.renew_lease(session, load_id)

        return beat

    def manifest(self, session: Any, load_id: int) -> Manifest:
        """What a load has landed.

        :raises TerminalError: it has not landed.
        """
        key = ledger.get_load(session, load_id).manifest
        if not key:
            raise TerminalError(
                "the load has not landed", where=f"{self.where}, load {load_id}", todo="clear the run"
            )
        return self.zone().manifest(key)
