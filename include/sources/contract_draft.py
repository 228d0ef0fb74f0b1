"""A contract written from what a catalog says, with a comment wherever a person must decide."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import date, timedelta

import yaml

from include.sources.choice import Choice, choose, personal
from include.sources.discovered import Found, FoundColumn, FoundTable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*|[a-z]+( [a-z]+)+")
_ACCEPTED_DAYS = 90
_BYTES_READ_HOURLY = 1 << 30


def draft(found: Found, name: str, conn_id: str, today: date) -> str:
    """The YAML of a source contract that loads and runs as it is."""
    names = stream_names(found.tables)
    keys = {table.quoted: usable_key(table) for table in found.tables}
    choices = {
        table.quoted: choose(table, keys[table.quoted], found.no_incremental) for table in found.tables
    }
    lines = [*_head(found, name, conn_id, today), *_questions(found, choices, today), "streams:"]
    for table in found.tables:
        lines += _stream(table, names, keys, choices)
    lines += _left_out(found)
    return "\n".join(lines) + "\n"


def stream_names(tables: tuple[FoundTable, ...]) -> dict[str, str]:
    """Stream names by the tables' quoted names: the table's where unique, else with its schema before it."""
    plain = [table.name for table in tables]
    names: dict[str, str] = {}
    for table in tables:
        name = table.name if plain.count(table.name) == 1 else f"{table.schema}_{table.name}"
        taken = {*names.values(), *(other for other in plain if other != table.name)}
        if len(name.encode()) > 63 or name in taken:
            # long or ambiguous names may begin alike: a digest of the whole tells them apart
            digest = hashlib.sha256(table.quoted.encode()).hexdigest()[:8]
            name = name.encode()[:54].decode(errors="ignore") + "_" + digest
        names[table.quoted] = name
    return names


def usable_key(table: FoundTable) -> tuple[str, ...]:
    """The primary key, unless inheriting tables are read too or one of its columns cannot be carried."""
    refused = {column.name for column in table.columns if column.refused}
    return () if table.inherited or refused & set(table.primary_key) else table.primary_key


def scalar(text: str) -> str:
    """A text as YAML, in quotes wherever anything else than this text could be read."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text and text.lower() not in ("y", "n"):
        return text
    return str(yaml.dump(text, default_style='"', allow_unicode=True, width=1 << 30)).strip()


def remark(text: str) -> str:
    """A text as it may stand in a comment: in one line, without control characters."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()


def _listed(items: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(scalar, items)) + "]"


def _head(found: Found, name: str, conn_id: str, today: date) -> Iterator[str]:
    yield f"# Source {name}, drafted by `millrace discover` on {today} as role {remark(found.role)}."
    yield "# It runs as it is. Each `decide:` marks what a catalog cannot know: ask, answer, delete it."
    yield "# Check it with `millrace contract check --connect`."
    if found.remedy:
        yield "#"
        yield "# The role cannot see open transactions; reading by a column would lose late commits. So tables"
        large = ", or by xmin where large" if found.kind == "postgres" else ""
        yield f"# are read whole{large}. To change that, an administrator of the source runs"
        yield f"#   {remark(found.remedy)}"
        yield "# and `millrace discover` is run again with --force."
    yield ""
    yield "version: 1"
    yield f"source: {name}"
    yield f"kind: {found.kind}"
    yield f"connection: {scalar(conn_id)}"
    yield f"description: {scalar('Tables of the database ' + found.database)}"
    yield "owner:"
    yield f"  team: {scalar(found.owner)} # decide: who answers for it? (this is the database's owner)"
    yield "  contact: not yet known # decide: an address that a person reads"
    yield "consumers: [] # decide: who is hurt when this is late or wrong?"
    yield "alerts: # decide: which Airflow connections (type apprise) are told?"
    yield "  on_failure: []"
    yield "  on_missed_deadline: []"
    yield ""


def _questions(found: Found, choices: dict[str, Choice], today: date) -> Iterator[str]:
    whole = sum(table.bytes for table in found.tables if choices[table.quoted].mode == "snapshot")
    cron = '"0 * * * *"' if whole < _BYTES_READ_HOURLY else '"0 3 * * *"'
    no_zone = any(choice.cursor and choice.cursor.family == "timestamp" for choice in choices.values())
    yield f"# About {_size(whole)} are read whole with every pull."
    yield "schedule: # decide: how often may and must it be pulled?"
    yield f"  cron: {cron}"
    yield "  timezone: UTC"
    yield f"  start: {today}"
    yield "deadline:"
    yield "  after_queueing: 1h # decide: when is it too late for the consumers?"
    yield "keeps: &unasked # decide: how long does it keep its data? forever, or a duration such as 90d"
    yield "  by: millrace discover"
    yield "  why: drafted from the catalog; the owner has not been asked yet"
    yield f"  until: {today + timedelta(days=_ACCEPTED_DAYS)}"
    yield "errors_tolerated: 0 # decide: which share of rows may break a column rule?"
    yield "duplicates: none"
    if no_zone:
        yield "# A cursor here has no time zone: if the source writes local time, stamps may lie hours back."
    yield f"lateness: {'1d' if no_zone else '15m'} # decide: how late may a row come?"
    yield "upstreams: *unasked # decide: which systems feed this source, and how fresh must they be?"
    yield "on_schema_change: stop # decide: or an answer for each kind of change"
    yield "on_failed_audit: stop_source # decide: or stop_stream, when streams make sense alone"
    yield "impact: # decide: what may reading cost the source?"
    yield f"  connections: {2 if found.kind == 'postgres' else 1}"
    yield "  statement_timeout: 30m"
    yield "  longest_snapshot: 1h"
    yield ""


def _stream(
    table: FoundTable,
    names: dict[str, str],
    keys: dict[str, tuple[str, ...]],
    choices: dict[str, Choice],
) -> Iterator[str]:
    choice, key = choices[table.quoted], keys[table.quoted]
    yield f"  - name: {scalar(names[table.quoted])}"
    yield f"    table: {scalar(table.quoted)}"
    if table.comment:
        yield f"    description: {scalar(table.comment)}"
    rows = f"about {table.rows:,} rows" if table.rows >= 0 else "number of rows unknown: never analysed"
    yield f"    # {rows}, {_size(table.bytes)}"
    if table.inherited:
        yield "    # tables that inherit from this one are read with it, so its key is not unique here"
    for line in choice.why:
        yield f"    # {remark(line)}"
    for line in choice.decide:
        yield f"    # decide: {remark(line)}"
    yield f"    mode: {choice.mode}"
    if choice.mode == "incremental":
        yield f"    cursor: {scalar(choice.cursor.name) if choice.cursor else 'xmin'}"
        yield "    # a cursor does not see deletes, so all primary keys are read too; `none` if rows never go"
    if key:
        yield f"    deletes: {choice.deletes}"
        yield f"    primary_key: {_listed(key)}"
    yield "    max_rows_per_day: *unasked # decide: more rows than this a day are a mistake"
    if choice.cursor:
        yield "    # freshness: 1d # decide: how old may the newest row be?"
    yield "    columns:"
    pinned = {*key, *(name for one in table.references for name in one.columns)}
    for column in table.columns:
        yield from _column(table, column, pinned)
    yield from _references(table, names, keys)
    yield ""


def _column(table: FoundTable, column: FoundColumn, pinned: set[str]) -> Iterator[str]:
    kind = personal(table, column)
    fields, notes = [f"type: {scalar(column.type)}"], []
    ignored = bool(column.refused) or (kind == "credential" and column.name not in pinned)
    if kind:
        fields.append(f"pii: {scalar(kind)}")
        instead = "" if ignored else " In clear? Else ignore: true, or protect: mask, hash or token"
        notes.append(f"decide: looks like {kind}; is it, and is it needed?{instead}")
    if ignored:
        fields.append("ignore: true")
        notes.append(
            f"not read: {column.refused}" if column.refused else "not read: credentials stay where they are"
        )
    else:
        if column.not_null:
            fields.append("not_null: true")
        if column.values:
            fields.append(f"values: {_listed(column.values)}")
        if column.beyond:
            fields.append("carry: text")
            notes.append("has values such as infinity, BC or NaN")
    comment = f" # {remark('; '.join(notes))}" if notes else ""
    yield f"      {scalar(column.name)}: {{{', '.join(fields)}}}{comment}"


def _references(
    table: FoundTable,
    names: dict[str, str],
    keys: dict[str, tuple[str, ...]],
) -> Iterator[str]:
    unread = {column.name for column in table.columns if column.refused}
    seen, lines = set(), []
    for reference in table.references:
        key = keys.get(reference.table)
        if not key or set(key) != set(reference.to_columns) or unread & set(reference.columns):
            continue
        pairs = dict(zip(reference.to_columns, reference.columns, strict=True))
        columns = tuple(pairs[name] for name in key)
        if (columns, reference.table) in seen:
            continue
        seen.add((columns, reference.table))
        lines.append(f"      - {{columns: {_listed(columns)}, stream: {scalar(names[reference.table])}}}")
    if lines:
        yield "    references:"
        yield from lines


def _left_out(found: Found) -> Iterator[str]:
    if found.skipped:
        yield "# Not read:"
        for skipped in found.skipped:
            yield f"#   {remark(skipped.name)}: {remark(skipped.reason)}"


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
