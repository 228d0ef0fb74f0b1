"""Where records are delivered. A new kind is a module with one class of this protocol, and a line below."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from include.activation.pace import Pace
from include.activation.records import Difference, Outcome, Record
from include.core.connection import Connection
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError

#: Module and class of each kind, imported late: a DAG file that names a sync needs no driver.
_KINDS = {
    "postgres": ("include.activation.destinations.postgres", "PostgresTable"),
    "mysql": ("include.activation.destinations.mysql", "MysqlTable"),
    "http": ("include.activation.destinations.http", "HttpApi"),
    "s3": ("include.activation.destinations.s3", "S3Files"),
}


class Destination(Protocol):
    """An operational system that takes records by upsert: sent twice, a record has the effect of once."""

    #: How many batches may be sent at the same time, each from a thread of its own.
    concurrency: int

    def check(self) -> None:
        """See that the destination can be reached and takes what the contract maps.

        :raises TerminalError: it cannot take these records before a person changes something.
        :raises TransientError: it does not answer.
        """

    def send(self, batch: Sequence[Record]) -> list[Outcome]:
        """Deliver, and return one outcome for each record, in order. A batch has no key twice, and of deletes there
        are either none or nothing else in it. Deleting what is not there is delivered.

        :raises TerminalError: nothing of this sync can be delivered; what was sent of the batch has an
            unknown fate.
        """

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class Comparable(Destination, Protocol):
    """One that can be read back."""

    #: Whether this one can; a kind may need more of its contract for that.
    can_compare: bool

    def compare(self, batch: Sequence[Record]) -> list[Difference]:
        """How what it holds differs from these records, in order. A value that it rounds when it stores it does not.

        :raises TerminalError: it refuses to be read.
        :raises TransientError: it does not answer.
        """


def open_destination(
    contract: SyncContract, connection: Connection, warehouse: Connection | None = None
) -> Destination:
    """The destination of a sync. Nothing is contacted yet.

    :param warehouse: where the contract's rate limit is kept; none: it is not observed.
    :raises ContractError: the connection is of another type than the contract's destination.
    """
    allowed = contract.destination.connection_types
    if connection.conn_type not in allowed:
        raise ContractError(
            "connection is of another type than the destination",
            where=f"sync {contract.sync!r}, connection {connection.conn_id!r}",
            received=connection.conn_type,
            allowed=" or ".join(allowed),
            todo=f"correct destination.connection, or AIRFLOW_CONN_{connection.conn_id.upper()}",
        )
    module, name = _KINDS[contract.destination.type]
    destination: Any = getattr(import_module(module), name)(contract, connection)
    rate = getattr(contract.destination, "rate_limit", None)
    if rate is not None and warehouse is not None:
        destination.keep_pace(Pace(warehouse, connection.conn_id, rate))
    opened: Destination = destination
    return opened
