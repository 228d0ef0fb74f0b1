"""One run of one source: what its steps share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from include.core.connection import Connection
from include.core.contracts.source import SourceContract
from include.core.errors import StaleLoad, TerminalError, TransientError
from include.core.manifest import Manifest
from include.landing import LandingZone, ObjectStore
from include.warehouse import ledger
from include.warehouse.connect import connected

log = logging.getLogger("millrace.ingest")


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

    def zone(self, writers: int = 1) -> LandingZone:
        """The landing zone, for so many streams that are written at once."""
        return LandingZone(ObjectStore(self.connect("landing")), writers)

    @contextmanager
    def lease_kept(self, load_id: int) -> Iterator[None]:
        """Renews the lease of a load while a step works, however long it is silent; a killed process stops renewing."""
        done = threading.Event()

        def keep() -> None:
            while not done.wait(ledger.LEASE.total_seconds() / 5):
                try:
                    with connected(self.loader()) as session:
                        ledger.renew_lease(session, load_id)
                except StaleLoad:
                    return  # the step finds out by itself before it writes anything that counts
                except TransientError as error:
                    log.warning(
                        "the lease of load %s could not be renewed, it is tried again: %s", load_id, error
                    )

        keeper = threading.Thread(target=keep, name="lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

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
