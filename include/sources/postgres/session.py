"""How every session at a source is set."""

from __future__ import annotations

from datetime import timedelta

from include.core.connection import Connection
from include.core.contracts.source import SourceContract

# Text forms that do not depend on the server's settings; `row_security = off` makes a policy an error instead of fewer
# rows; an empty search path makes the catalog name every type that is not built in with its schema.
SETTINGS = {
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "row_security": "off",
    "search_path": "pg_catalog",
    "client_encoding": "UTF8",
}


def session_uri(contract: SourceContract, connection: Connection) -> str:
    """The connection's URI, with what reading may cost the source."""
    impact = contract.impact
    return connection.postgres_uri(
        **SETTINGS,
        statement_timeout=milliseconds(impact.statement_timeout),
        lock_timeout=milliseconds(impact.lock_timeout),
        idle_in_transaction_session_timeout=milliseconds(impact.idle_in_transaction_timeout),
    )


def milliseconds(duration: timedelta) -> str:
    """A duration as the server's settings take it."""
    return str(int(duration.total_seconds() * 1000))
