"""Errors of the drivers as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager as adbc
import psycopg
import pyarrow as pa

from include.core.errors import SourceForbidden, TerminalError, TransientError, TypeNotExact, Unreachable

_FORBIDDEN = (psycopg.errors.InsufficientPrivilege,)
_BROKEN_CONTRACT = (psycopg.errors.SyntaxError, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of the drivers as ours: a missing right is for a person, anything else of the server's may pass."""
    try:
        yield
    except (psycopg.Error, adbc.Error, OSError, pa.ArrowException) as error:
        # The latter two are what a failure in the middle of a result becomes on its way through Arrow; they have no state.
        state = getattr(error, "sqlstate", None) or ""
        text = " ".join(str(error).split())
        if "invalid byte sequence for encoding" in text:
            raise TypeNotExact(
                text,
                where=where,
                allowed="text in UTF-8",
                todo="correct the rows, or `ignore: true` for the column",
            ) from error
        if isinstance(error, _FORBIDDEN) or state == "42501":
            raise SourceForbidden(
                text,
                where=where,
                todo="grant the role what is missing, or, for row-level security, BYPASSRLS",
            ) from error
        if state.startswith(("28", "3D")) or "password authentication failed" in text:
            raise TerminalError(
                text, where=where, todo="correct the connection's login, password or database"
            ) from error
        if isinstance(error, _BROKEN_CONTRACT) or state.startswith("42") or state == "25006":  # would write
            raise TerminalError(text, where=where, todo="compare the contract with the source") from error
        if state.startswith("57014") or state in ("55P03", "25P03"):
            raise TransientError(
                text,
                where=where,
                todo="raise the contract's impact timeouts, or read when the source is quiet",
            ) from error
        raise Unreachable(
            text, where=where, todo="see whether the source is up and reachable from here"
        ) from error
