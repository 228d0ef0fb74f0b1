"""Which way of reading fits a table, and which columns hold personal data: guesses to be overruled."""

from __future__ import annotations

import re
from dataclasses import dataclass

from include.sources.discovered import FoundColumn, FoundTable

LARGE_ROWS = 5_000_000
#: From this size on, reading, landing and comparing a whole table each time costs more than scanning it at the source alone.
WHOLE_BYTES = 128 << 20

_CHANGE = "updated?|modified|modification|changed?|mtime|modstamp|upd|mod|write|touched"
_BIRTH = "created?|creation|received|inserted|ingested|logged|occurred|recorded|event|happened"
_TAIL = "at|on|date|time|ts|timestamp|utc|datetime|dt|stamp|tstamp"
_HEAD = "last|row|record|sys|system|date|time|ts|dt"
_CHANGE_NAME = re.compile(rf"(?:(?:{_HEAD})_)*(?:{_CHANGE})(?:_(?:{_TAIL}))*")
_BIRTH_NAME = re.compile(
    rf"(?:(?:{_HEAD})_)*(?:{_BIRTH})(?:_(?:{_TAIL}))*|(?:ts|timestamp|occurred_at|event_time)"
)

# The first that matches names the kind. Searched in the name in snake_case; `<` and `>` are edges of words.
_PII = tuple(
    (kind, re.compile(words.replace("<", "(?<![a-z0-9])").replace(">", "(?![a-z0-9])")))
    for kind, words in (
        ("credential", "passw(or)?d|<pwd>|secret|api_?key|(access|refresh|auth|reset)_?token|private_?key"),
        ("email", "e_?mail"),
        ("phone", "phone|mobile|<fax>|msisdn|<cell>"),
        ("birth date", "birth|<dob>"),
        ("national id", "<ssn>|social_security|passport|<tax_?id>|national_id|driver_?s?_?licen|<nin>"),
        ("bank account", "<iban>|<bic>|bank_account|account_(no|number)>|routing_number"),
        ("payment card", "card_(no|number|holder)|<pan>|<cvv|credit_card"),
        (
            "network address",
            "<ip>|<ip_?addr|remote_addr|<mac_?addr|user_agent|device_id|session_id|visitor_id|cookie",
        ),
        ("location", "<lat>|<lng>|<lon>|latitude|longitude|geo_?(point|location)"),
        ("address", "street|address|post_?code|postal_?code|<zip>|zip_?code|house_n"),
        ("sensitive trait", "religio|ethnic|gender|<sex>|disabilit|diagnos|<blood"),
        ("name", "<(first|last|middle|full|given|family|sur|maiden|nick|user|contact|person)_?name>"),
    )
)
# `name` alone is a person's only where the table is about people.
_PEOPLE = re.compile(
    "customer|client|user|person|people|employee|staff|contact|member|patient|student|driver|lead"
)


def snake(name: str) -> str:
    """`LastModifiedAt`, `last-modified at` → `last_modified_at`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+", "_", spaced).strip("_").lower()


@dataclass(frozen=True)
class Choice:
    """How a table is read; `why` and `decide` become comments in the contract. Incremental without a column is by xmin."""

    mode: str
    deletes: str
    cursor: FoundColumn | None = None
    why: tuple[str, ...] = ()
    decide: tuple[str, ...] = ()


def change_cursor(table: FoundTable) -> FoundColumn | None:
    """The best column that is named as if it were stamped at every change; it may still be unusable."""
    named = [column for column in _times(table) if _CHANGE_NAME.fullmatch(snake(column.name))]
    return max(named, key=_quality, default=None)


def birth_cursor(table: FoundTable) -> FoundColumn | None:
    """The best column that is named as if it were stamped when a row is written, and never again."""
    named = [column for column in _times(table) if _BIRTH_NAME.fullmatch(snake(column.name))]
    return max(named, key=_quality, default=None)


def _times(table: FoundTable) -> list[FoundColumn]:
    return [
        column
        for column in table.columns
        if column.family in ("timestamp", "timestamptz") and not column.refused
    ]


def _quality(column: FoundColumn) -> tuple[bool, bool, bool, bool]:
    return (column.not_null, column.family == "timestamptz", bool(column.stamped_by), column.indexed)


def choose(table: FoundTable, key: tuple[str, ...], no_incremental: str = "") -> Choice:
    """The mode for a table with this usable primary key.

    :param no_incremental: why this source cannot be read by cursor at all; empty when it can.
    """
    cursor = change_cursor(table)
    if not cursor or not cursor.not_null or not key or no_incremental:
        return _without_cursor(table, key, cursor, no_incremental)
    decide = []
    if not cursor.stamped_by:
        decide.append(
            f"no trigger stamps {cursor.name}: does the application, each time? What it forgets is lost."
        )
    if cursor.family == "timestamp":
        decide.append(f"{cursor.name} has no time zone and is read as UTC: does the source write UTC?")
    if not cursor.indexed:
        decide.append(f"no index on {cursor.name}: each pull scans the table. Ask the owner for one.")
    why = [f"{cursor.name} is stamped by {cursor.stamped_by}"] if cursor.stamped_by else []
    return Choice("incremental", "keys", cursor, tuple(why), (*decide, *_gone(table)))


def _gone(table: FoundTable) -> list[str]:
    if table.deletes:
        return []
    return ["are rows ever deleted? The statistics show no delete yet; `none` saves reading all keys."]


def _without_cursor(
    table: FoundTable, key: tuple[str, ...], cursor: FoundColumn | None, no_incremental: str
) -> Choice:
    why, decide = [], []
    if not key:
        why.append("no primary key to merge by: each pull replaces the table whole")
    elif cursor and cursor.not_null and no_incremental:
        decide.append(f"incremental by {cursor.name} becomes possible: {no_incremental}.")
    elif cursor:
        decide.append(f"{cursor.name} would be a cursor, but it may be null: is it set at every change?")
    else:
        why.append("no column tells when a row was changed")
    born = birth_cursor(table)
    if key and born and not cursor:
        seen = " (the statistics show no update so far)" if table.updates == 0 else ""
        decide.append(
            f"are rows only added{seen}? Then mode: incremental, cursor: {born.name}, deletes: none."
        )
    if key and table.by_xmin and table.bytes >= WHOLE_BYTES:
        why.append(
            f"{WHOLE_BYTES >> 20} MiB or more, so only rows that newer transactions wrote are read, landed and merged;"
        )
        why.append("the source still scans the whole table with each pull, because xmin has no index")
        return Choice("incremental", "keys", None, tuple(why), (*decide, *_gone(table)))
    if table.rows > LARGE_ROWS:
        decide.append(
            f"about {table.rows:,} rows are read whole each time: is there a cursor, or a longer schedule?"
        )
    return Choice("snapshot", "snapshot" if key else "none", None, tuple(why), tuple(decide))


def personal(table: FoundTable, column: FoundColumn) -> str:
    """The kind of personal data that a column probably holds, by values, name and type; or nothing."""
    if column.looks_like:
        return column.looks_like
    name, about = snake(column.name), snake(table.name)
    for kind, expression in _PII:
        if expression.search(name) and _plausible(kind, column.family):
            return kind
    if column.family == "network":
        return "network address"
    return "name" if name == "name" and column.family == "string" and _PEOPLE.search(about) else ""


def _plausible(kind: str, family: str) -> bool:
    if kind == "birth date":
        return family in ("date", "timestamp", "timestamptz", "string")
    if kind == "location":
        return family in ("number", "string", "other")
    return family in ("string", "network", "other") or (
        kind in ("phone", "bank account") and family == "number"
    )
