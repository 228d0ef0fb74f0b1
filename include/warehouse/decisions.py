"""What people see of the quarantine, and decide about its rows. Each decision keeps who made it and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from include.core.errors import ContractError
from include.warehouse.ledger import Session, rows_of

_WAITING = ("held", "retry")


def listed(session: Session, source: str, stream: str = "", *, over: bool = False) -> list[dict[str, Any]]:
    """Rows of `ledger.quarantine`, oldest first. :param over: also those that wait for nothing any more."""
    states = ("held", "retry", "published", "dropped", "superseded", "gone") if over else _WAITING
    query = (
        "select * from ledger.quarantine where (%s = '' or source = %s) and (%s = '' or stream = %s)"
        " and state = any(%s) order by quarantine_id"
    )
    return rows_of(session, query, (source, source, stream, stream, list(states)))


def one(session: Session, quarantine_id: int) -> dict[str, Any]:
    """One row of `ledger.quarantine`.

    :raises ContractError: there is none.
    """
    found = rows_of(session, "select * from ledger.quarantine where quarantine_id = %s", (quarantine_id,))
    if not found:
        raise ContractError(
            "there is no such row in quarantine", where="quarantine", received=quarantine_id,
            todo="see them with: millrace quarantine list --all",
        )  # fmt: skip
    return found[0]


def fix(session: Session, quarantine_id: int, edits: Mapping[str, str | None], *, by: str, why: str) -> None:
    """Put values into a row, which then goes along with the next load. They hold until the source changes the row.

    :param edits: values as text by column, null as None.
    :raises ContractError: the row no longer waits, or a column is not one of its or is in its key, or a value is not of its
        column's type.
    """
    with session.transaction():
        row = _waiting(session, quarantine_id)
        where = f"quarantine, row {quarantine_id}"
        unnamed = [name for name, value in row["key"].items() if value is None]
        if unnamed:
            raise ContractError(
                "a row without a value in its key cannot be corrected here", where=where, received=", ".join(unnamed),
                todo="correct it at the source, or drop it",
            )  # fmt: skip
        allowed = sorted(set(row["content"]) - set(row["key"]))
        for name, value in edits.items():
            if name not in allowed:
                raise ContractError(
                    "there is no such column to correct",
                    where=where,
                    received=name,
                    allowed=", ".join(allowed),
                )
            _check_value(session, row, name, value, where)
        session.execute(
            "update ledger.quarantine set edits = edits || %s, state = 'retry', decided_by = %s, decided_why = %s,"
            " decided_at = clock_timestamp() where quarantine_id = %s",
            (Jsonb(dict(edits)), by, why, quarantine_id),
        )


def retry(session: Session, ids: Sequence[int], *, by: str, why: str) -> None:
    """Have rows go along with the next load as they are.

    :raises ContractError: one of them no longer waits.
    """
    _decide(session, ids, "retry", by, why)


def drop(session: Session, ids: Sequence[int], *, by: str, why: str) -> None:
    """Keep rows out for good, as they are. When the source changes one, it is judged anew.

    :raises ContractError: one of them no longer waits.
    """
    _decide(session, ids, "dropped", by, why)


def _decide(session: Session, ids: Sequence[int], state: str, by: str, why: str) -> None:
    with session.transaction():
        for quarantine_id in ids:
            _waiting(session, quarantine_id)
        session.execute(
            "update ledger.quarantine set state = %s, decided_by = %s, decided_why = %s, decided_at = clock_timestamp()"
            " where quarantine_id = any(%s)",
            (state, by, why, list(ids)),
        )


def _waiting(session: Session, quarantine_id: int) -> dict[str, Any]:
    session.execute("select from ledger.quarantine where quarantine_id = %s for update", (quarantine_id,))
    row = one(session, quarantine_id)
    if row["state"] not in _WAITING:
        raise ContractError(
            "this row waits for nothing any more", where=f"quarantine, row {quarantine_id}", received=row["state"],
            allowed=" or ".join(_WAITING), todo="see what became of it: millrace quarantine show",
        )  # fmt: skip
    return row


def _check_value(session: Session, row: dict[str, Any], name: str, value: str | None, where: str) -> None:
    """Whether a value is of its column's type, as raw has it; before raw has the table, the load finds out."""
    found = session.execute(
        "select format_type(atttypid, atttypmod) from pg_attribute where attname = %s and attnum > 0"
        " and attrelid = to_regclass(format('%%I.%%I', 'raw_' || %s::text, %s::text)) and not attisdropped",
        (name, row["source"], row["stream"]),
    ).fetchone()
    if found is None:
        return
    try:
        with session.transaction():
            session.execute(sql.SQL("select {}::{}").format(sql.Literal(value), sql.SQL(found[0])))
    except psycopg.DataError as error:
        raise ContractError(
            "the value is not of its column's type", where=f"{where}, column {name!r}", received=repr(value),
            allowed=found[0],
        ) from error  # fmt: skip
