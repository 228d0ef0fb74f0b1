"""The plan: the difference between a model and what its destination acknowledged, computed by the warehouse.

The model is read once, in one snapshot. Afterwards nothing of it is locked: a transform may publish while a
slow destination is still being served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import sql

from include.activation.records import Record
from include.activation.session import Session
from include.core.contracts.sync import SyncContract
from include.core.errors import BreakerTripped, ContractError, TerminalError

#: Rows of a plan, as the cursor of `open_plan` gives them: action, key, fingerprint, body.
PlanCursor = psycopg.ServerCursor[Any]
_SCHEMA = "activation"
_SAMPLES = 5


@dataclass(frozen=True)
class Change:
    """One planned change, as a sample. `body` is the mapped record as JSON; it never shows in `repr`."""

    action: Literal["create", "update"]
    key: str
    body: str = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """Counts of records: `read` from the model = unchanged + held + creates + updates.

    held: rejected too often as they are, not sent. again: of the planned, those that were rejected as they
    are. known: of the read, those that the destination acknowledged before.
    """

    sync: str
    model_version: str
    read: int
    unchanged: int
    held: int
    creates: int
    updates: int
    again: int
    known: int
    samples: tuple[Change, ...] = ()

    @property
    def planned(self) -> int:
        return self.creates + self.updates


@contextmanager
def open_plan(session: Session, contract: SyncContract, *, hold: bool) -> Iterator[tuple[Plan, PlanCursor]]:
    """Plan, and give a cursor over the planned rows. With `hold`, the transaction it was made in has ended.

    :raises ContractError: the model lacks a mapped column.
    :raises TerminalError: the model is not published, or has a key twice or without a value.
    """
    with session.cursor(name="millrace_plan", withhold=hold) as cursor:
        if hold:
            with session.transaction():
                plan = _open(session, contract, cursor)
            yield plan, cursor
        else:
            with session.transaction(force_rollback=True):
                yield _open(session, contract, cursor), cursor


def samples(cursor: PlanCursor) -> tuple[Change, ...]:
    """The first rows of a plan; the cursor has passed them then."""
    return tuple(Change(action, key, body) for action, key, _, body in cursor.fetchmany(_SAMPLES))


def planned_batches(cursor: PlanCursor, size: int) -> Iterator[list[Record]]:
    """The planned records, `size` at a time."""
    while rows := cursor.fetchmany(size):
        yield [Record(key, fingerprint, body) for _, key, fingerprint, body in rows]


def check_breaker(contract: SyncContract, plan: Plan) -> None:
    """See that no more of the known records change than the contract allows.

    :raises BreakerTripped: more would change.
    """
    share = plan.updates / plan.known if plan.known else 0.0
    if share > contract.max_change_share:
        raise BreakerTripped(
            "more of the delivered records would change than the contract allows; nothing was sent",
            where=f"sync {contract.sync!r}, model {_SCHEMA}.{contract.model}",
            received=f"{plan.updates} of {plan.known} records ({share:.1%})",
            allowed=f"max_change_share {contract.max_change_share:.1%}",
            todo="look at the model; when the change is meant, raise max_change_share for this run",
        )


def _open(session: Session, contract: SyncContract, cursor: PlanCursor) -> Plan:
    session.execute("set transaction isolation level repeatable read")
    types = _column_types(session, contract)
    version = _model_version(session, contract.model)
    source = _mapped(contract, types)
    key = sql.Identifier(contract.destination.key)
    _check_keys(session, contract, source, key)
    cursor.execute(
        sql.SQL(_COMPARE).format(key=key, source=source),
        {"sync": contract.sync, "max_attempts": contract.max_attempts, "identity": _identity(contract)},
    )
    counts = cursor.fetchone()
    assert counts is not None
    return Plan(sync=contract.sync, model_version=version, **json.loads(counts[3]))


def _identity(contract: SyncContract) -> str:
    """Part of each fingerprint: what one destination acknowledged says nothing about another."""
    target = contract.destination
    return f"{target.type} {target.connection} {target.place}\n"


def _mapped(contract: SyncContract, types: dict[str, str]) -> sql.Composed:
    """The model with the names of the destination's fields, in an order that is not the contract's."""
    columns = []
    for destination_field, column in sorted(contract.mapping.items()):
        value: sql.Composable = sql.SQL("m.") + sql.Identifier(column)
        if types[column] in ("numeric", "bigint"):
            value += sql.SQL("::text")
        columns.append(value + sql.SQL(" as ") + sql.Identifier(destination_field))
    return sql.SQL("(select {} from {} m)").format(sql.SQL(", ").join(columns), _model(contract))


def _model(contract: SyncContract) -> sql.Identifier:
    return sql.Identifier(_SCHEMA, contract.model)


def _column_types(session: Session, contract: SyncContract) -> dict[str, str]:
    where = f"sync {contract.sync!r}, model {_SCHEMA}.{contract.model}"
    rows = session.execute(
        "select a.attname, format_type(case t.typtype when 'd' then t.typbasetype else t.oid end, null)"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " join pg_type t on t.oid = a.atttypid"
        " where n.nspname = %s and c.relname = %s order by a.attnum",
        (_SCHEMA, contract.model),
    ).fetchall()
    if not rows:
        raise TerminalError(
            "the activation model is not published",
            where=where,
            todo=f"run transform {contract.transform!r}, or correct the contract's model",
        )
    types: dict[str, str] = dict(rows)
    missing = sorted(set(contract.mapping.values()) - set(types))
    if missing:
        raise ContractError(
            "mapping names columns that the model does not have",
            where=where,
            received=", ".join(missing),
            allowed=", ".join(types),
            todo="correct the mapping, or add the column to the model",
        )
    too_long = [name for name in contract.mapping if len(name.encode()) > 63]
    if too_long:
        raise ContractError(
            "destination field is too long", where=where, received=too_long, allowed="63 bytes at most"
        )
    return types


def _model_version(session: Session, model: str) -> str:
    """The relations that the published view reads, or its own name when it is a table."""
    row = session.execute(
        "select string_agg(distinct format('%%I.%%I', n.nspname, c.relname), ', ')"
        " from pg_rewrite r"
        " join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid"
        "  and d.refclassid = 'pg_class'::regclass"
        " join pg_class c on c.oid = d.refobjid and c.oid <> r.ev_class"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where r.ev_class = format('%%I.%%I', %(schema)s::text, %(model)s::text)::regclass",
        {"schema": _SCHEMA, "model": model},
    ).fetchone()
    return (row and row[0]) or f"{_SCHEMA}.{model}"


def _check_keys(session: Session, contract: SyncContract, source: sql.Composed, key: sql.Identifier) -> None:
    row = session.execute(
        sql.SQL(
            "select count(*) filter (where key is not null), coalesce(sum(rows) filter (where key is null), 0)"
            " from (select r.{key}::text as key, count(*) as rows from {source} r group by 1"
            " having count(*) > 1 or r.{key}::text is null) wrong"
        ).format(key=key, source=source)
    ).fetchone()
    assert row is not None
    if any(row):
        column, model = (name.as_string(session) for name in (sql.Identifier(contract.key), _model(contract)))
        raise TerminalError(
            "a key must stand once for each record, and never be null; nothing was sent",
            where=f"sync {contract.sync!r}, model {_SCHEMA}.{contract.model}, column {contract.key!r}",
            received=f"{row[0]} keys twice or more, {row[1]} rows without one",
            allowed="each value once",
            # a key may be an address: it is for whoever may read the model, not for a log
            todo=f"look at them: select {column}, count(*) from {model} group by 1"
            f" having count(*) > 1 or {column} is null; correct the model's grain, and give its key the dbt tests"
            " unique and not_null",
        )


# `offset 0` keeps the planner from merging the levels, which would render and hash each record several times.
# The first row holds the counts: a cursor runs without parallel workers, so the branches of `union all` come
# in order.
_COMPARE = """
with model as (
    select b.record_key, b.body, sha256(convert_to(%(identity)s || b.body, 'UTF8')) as fingerprint
    from (select r.{key}::text as record_key, row_to_json(r.*)::text as body from {source} r offset 0) b
    offset 0
), compared as materialized (
    select c.action, c.record_key, c.fingerprint, c.known, c.again,
        case when c.action in ('create', 'update') then c.body end as body
    from (
        select m.record_key, m.fingerprint, m.body,
            s.acknowledged_at is not null as known,
            coalesce(s.refused = m.fingerprint, false) as again,
            case
                when s.acknowledged = m.fingerprint and s.refused is null then 'unchanged'
                when s.refused = m.fingerprint and s.attempts >= %(max_attempts)s then 'held'
                when s.acknowledged_at is null then 'create'
                else 'update'
            end as action
        from model m
        left join ledger.sync_record s on s.sync = %(sync)s and s.record_key = m.record_key
        offset 0
    ) c
)
select 'counts' as action, null as record_key, null::bytea as fingerprint, json_build_object(
    'read', count(*),
    'unchanged', count(*) filter (where action = 'unchanged'),
    'held', count(*) filter (where action = 'held'),
    'creates', count(*) filter (where action = 'create'),
    'updates', count(*) filter (where action = 'update'),
    'again', count(*) filter (where again and action in ('create', 'update')),
    'known', count(*) filter (where known)
)::text as body
from compared
union all
select action, record_key, fingerprint, body from compared where body is not null
"""
