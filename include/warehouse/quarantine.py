"""Rows that were set aside, as the ledger keeps them: until the source corrects them, or somebody here does.

A row is known by its content, each value as text: so a later load, or the replay of an older one, finds it again wherever it
stands in its batch.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from include.core.manifest import Manifest, StreamManifest
from include.core.schema import StreamSchema
from include.warehouse import set_aside
from include.warehouse.set_aside import Batch, same_key, value
from include.warehouse.staging import SCHEMA
from include.warehouse.tables import columns_list

Session = psycopg.Connection[Any]
#: The rule that a row breaks which somebody has dropped.
DROPPED = "dropped"

# Edits hold for as long as the source shows the row that they correct.
_EDITED = "q.edits <> '{}' and (q.state = 'retry' or q.published_load is not null) and q.ended_load is null"
_ASKED = "q.state = 'retry'"
_EDITED_THEN = "q.edits <> '{{}}' and q.published_load <= {load} and coalesce(q.ended_load > {load}, true)"
_PUBLISHED_THEN = "q.published_load = {load}"
_BAD_THEN = "q.first_load <= {load} and coalesce(least(q.published_load, q.ended_load) > {load}, true)"


def asked(session: Session, source: str) -> dict[str, int]:
    """How many rows of each stream shall go along with the next load."""
    query = (
        "select stream, count(*) from ledger.quarantine where source = %s and state = 'retry' group by stream"
    )
    return dict(session.execute(query, (source,)).fetchall())


def ask(session: Session, source: str, streams: tuple[str, ...], *, by: str) -> None:
    """Have all rows that are held go along with the next load. :param streams: of these only, unless empty."""
    session.execute(
        "update ledger.quarantine set state = 'retry', decided_by = %(by)s, decided_why = 'all were asked for',"
        " decided_at = clock_timestamp() where source = %(source)s and state = 'held'"
        " and (%(streams)s::text[] = '{}' or stream = any(%(streams)s))",
        {"by": by, "source": source, "streams": list(streams)},
    )


def held_since(session: Session, source: str, moment: datetime) -> dict[str, int]:
    """How many rows of each stream have been waiting since before that time."""
    query = (
        "select stream, count(*) from ledger.quarantine where source = %s and state in ('held', 'retry')"
        " and first_at < %s group by stream order by stream"
    )
    return dict(session.execute(query, (source, moment)).fetchall())


def take_along(
    session: Session, source: str, landed: StreamManifest, load_id: int, *, again: bool = False
) -> int:
    """Put edits into a staging batch, and rows that were asked for. Returns by how many rows it has grown.

    Of a row that was asked for only what the batch does not have: what it has is newer. And only while the source has it.

    :param again: as it was when that load was published.
    """
    texts = (_EDITED_THEN, _PUBLISHED_THEN) if again else (_EDITED, _ASKED)
    edited, wanted = (_at(text, load_id) for text in texts)
    which = sql.SQL("({} or {})").format(edited, wanted)
    if not landed.schema.primary_key or not _any(session, source, landed.stream, which):
        return 0
    batch = Batch(landed, load_id)
    values = sql.SQL(
        "insert into {batch} as b ({names}) select {values} from ledger.quarantine as q where {which}"
    )
    common = {"batch": batch.rows, "names": columns_list(landed.schema.names), "values": batch.values("q")}
    put = values.format(**common, which=sql.SQL("q.quarantine_id in (select quarantine_id from hit)"))
    row = session.execute(
        sql.SQL(
            "with hit as (delete from {batch} as b using ledger.quarantine as q where {ours} and {edited} and {same}"
            " and md5({content}::text) = q.digest returning q.quarantine_id), put as ({put} returning 1)"
            " select (select count(*) from put) - (select count(*) from hit)"
        ).format(
            batch=batch.rows,
            ours=_ours(source, landed.stream),
            edited=edited,
            same=batch.same_key("b", "q"),
            content=batch.content("b"),
            put=put,
        )
    ).fetchone()
    assert row is not None
    grown = int(row[0])
    if landed.complete:
        return grown
    which = sql.SQL("{} and {} and not exists (select from {} as b where {})").format(
        _ours(source, landed.stream), wanted, batch.rows, batch.same_key("b", "q")
    )
    if landed.key_parts is not None:
        which += sql.SQL(" and exists (select from {} as k where {})").format(
            batch.keys, batch.same_key("k", "q")
        )
    return grown + session.execute(values.format(**common, which=which)).rowcount


def mark_known(session: Session, source: str, landed: StreamManifest, load_id: int) -> None:
    """Note which rows of the staging batch of a past load were set aside when it was published."""
    set_aside.clear(session, load_id, landed.stream)
    if not landed.schema.primary_key or not _any(session, source, landed.stream):
        return
    _mark(session, source, landed, load_id, "set aside", _at(_BAD_THEN, load_id))
    # Without a key no row was ever published.
    keyless = sql.SQL(" or ").join(
        sql.SQL("b.{} is null").format(sql.Identifier(name)) for name in landed.schema.primary_key
    )
    nameless = sql.SQL("select b.ctid as at from {} as b where {}").format(
        Batch(landed, load_id).rows, keyless
    )
    set_aside.add(session, load_id, landed.stream, "set aside", nameless)


def mark_dropped(session: Session, source: str, landed: StreamManifest, load_id: int) -> None:
    """Note as bad, by the rule `DROPPED`, what somebody has dropped, whatever the rules say of it by now."""
    dropped = sql.SQL("q.state = 'dropped' and q.ended_load is null")
    if landed.schema.primary_key and _any(session, source, landed.stream, dropped):
        _mark(session, source, landed, load_id, DROPPED, dropped)


def _mark(
    session: Session,
    source: str,
    landed: StreamManifest,
    load_id: int,
    rule: str,
    which: sql.Composable,
) -> None:
    """Note as bad the rows of a batch that the quarantine knows, of these."""
    batch = Batch(landed, load_id)
    known = sql.SQL(
        "select b.ctid as at from {} as b join ledger.quarantine as q on {} and {} where {} and md5({}::text) = q.digest"
    ).format(batch.rows, _ours(source, landed.stream), batch.same_key("b", "q"), which, batch.content("b"))
    set_aside.create(session, load_id, landed.stream)
    set_aside.add(session, load_id, landed.stream, rule, known)


def settle(session: Session, manifest: Manifest, key: str, landed: StreamManifest) -> int:
    """Bring the ledger's quarantine up to a load, inside the transaction that publishes it. Returns its bad rows."""
    source, stream, load_id = manifest.source, landed.stream, manifest.load_id
    bad = set_aside.count(session, load_id, stream)
    if not landed.schema.primary_key or not (bad or _any(session, source, stream)):
        return 0
    batch = Batch(landed, load_id)
    ours, load = _ours(source, stream), sql.Literal(load_id)
    if bad:
        found = sql.SQL(
            "select distinct on (digest) c.content, {key} as key, md5(c.content::text) as digest, x.rules"
            " from {rows} as b join {bad} as x on x.at = b.ctid cross join lateral (select {content} as content) as c"
        ).format(
            key=batch.content("b", landed.schema.primary_key),
            rows=batch.rows,
            bad=set_aside.table(load_id, stream, "bad"),
            content=batch.content("b"),
        )
        session.execute(
            sql.SQL(
                "with bad as ({found}), again as (update ledger.quarantine as q set last_load = {load}, rules = bad.rules,"
                " last_at = clock_timestamp(), state = case q.state when 'retry' then 'held' else q.state end from bad"
                " where {ours} and q.digest = bad.digest and q.published_load is null and q.ended_load is null"
                " returning q.digest), other as (update ledger.quarantine as q set ended_load = {load}, state ="
                " case when q.state in ('held', 'retry') then 'superseded' else q.state end where {ours}"
                " and q.ended_load is null and q.key in (select key from bad)"
                " and q.digest not in (select digest from bad))"
                " insert into ledger.quarantine (source, stream, key, content, digest, rules, run_id, manifest, first_load,"
                " last_load) select {source}, {stream}, key, content, digest, rules, {run}, {manifest}, {load}, {load}"
                " from bad where digest not in (select digest from again)"
            ).format(
                found=found,
                ours=ours,
                load=load,
                source=sql.Literal(source),
                stream=sql.Literal(stream),
                run=sql.Literal(manifest.run_id),
                manifest=sql.Literal(key),
            )
        )
    rows, keys = set_aside.split(session, load_id, landed)
    # A row without edits that passed is a row like any other from here on.
    session.execute(
        sql.SQL(
            "update ledger.quarantine as q set published_load = case when same then coalesce(published_load, {load})"
            " else published_load end, state = case when published_load is not null or state = 'dropped' then state"
            " when same then 'published' else 'superseded' end,"
            " ended_load = case when same and edits <> '{{}}' then null else {load} end"
            " from (select q.quarantine_id, {content} @> (q.content || q.edits) as same from ledger.quarantine as q"
            " join {good} as g on {key} where {ours} and q.ended_load is null) as found"
            " where q.quarantine_id = found.quarantine_id"
        ).format(
            load=load,
            content=batch.content("g"),
            good=sql.Identifier(SCHEMA, rows),
            key=batch.same_key("g", "q"),
            ours=ours,
        )
    )
    if keys or landed.complete:
        session.execute(
            sql.SQL(
                "update ledger.quarantine as q set ended_load = {load},"
                " state = case when q.state in ('held', 'retry') then 'gone' else q.state end where {ours}"
                " and q.ended_load is null and q.last_load < {load} and not exists (select from {present} as p where {key})"
            ).format(
                load=load,
                ours=ours,
                present=sql.Identifier(SCHEMA, keys or rows),
                key=batch.same_key("p", "q"),
            )
        )
    return bad


def as_read(session: Session, source: str, stream: str, raw: str, schema: StreamSchema) -> str:
    """A relation of what raw would be if nothing had been set aside or edited. :param raw: its name, quoted."""
    if not schema.primary_key or not _any(session, source, stream):
        return raw
    kept = sql.SQL("{} and q.ended_load is null").format(_ours(source, stream))
    return (
        sql.SQL(
            "(select {names}, _deleted_at from {raw} as r where not exists (select from ledger.quarantine as q"
            " where {kept} and {same}) union all select {values}, null from ledger.quarantine as q where {kept}) as r"
        )
        .format(
            names=columns_list(schema.names),
            raw=sql.SQL(raw),
            kept=kept,
            same=same_key(schema, "r", "q"),
            values=sql.SQL(", ").join(
                value(column.name, column.raw_type, "q", "content") for column in schema.columns
            ),
        )
        .as_string(None)
    )


def _ours(source: str, stream: str) -> sql.Composable:
    return sql.SQL("q.source = {} and q.stream = {}").format(sql.Literal(source), sql.Literal(stream))


def _at(condition: str, load_id: int) -> sql.Composable:
    if "{load}" not in condition:
        return sql.SQL(condition)
    return sql.SQL(condition).format(load=sql.Literal(load_id))


def _any(
    session: Session,
    source: str,
    stream: str,
    which: sql.Composable = sql.SQL("true"),  # noqa: B008
) -> bool:
    query = sql.SQL("select exists (select from ledger.quarantine as q where {} and {})")
    return session.execute(query.format(_ours(source, stream), which)).fetchone() == (True,)
