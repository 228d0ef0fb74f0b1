"""How a table of the source differs from its stream's contract, what kind of change that is, and what the contract answers.

A column is told by its number, where the kind of system gives it one that a new name does not change (PostgreSQL's `attnum`)
and an earlier load has noted it: only so a renamed column is not one that went and another that came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from include.core.contracts.source import SourceContract, Stream
from include.core.contracts.stream import RESERVED_COLUMNS
from include.core.errors import SchemaChanged
from include.core.log_changes import ADDED
from include.core.schema import Column, StreamSchema
from include.core.widening import keeps, widens


@dataclass(frozen=True)
class Found:
    """A column as the source's catalog has it. `number` outlives a rename; 0 where there is none."""

    name: str
    type: str
    number: int = 0


@dataclass(frozen=True)
class Change:
    """One difference. `kind` and `answer` are those of `on_schema_change`; `why` is there when the answer is another one.
    `unknown`: of a column that evolved, so that the contract does not know it; then what it was loaded as is compared.

    `before` is what the contract says and `after` what the source has: types, names of a renamed column, columns of a key.
    """

    kind: str
    column: str
    before: str
    after: str
    answer: str = ""
    why: str = ""
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self._what()} ({self.kind}{f'; {self.why}' if self.why else ''})"

    def _what(self) -> str:
        if self.kind == "changed_key":
            return f"primary key: contract says ({self.before}), source has ({self.after})"
        if self.kind == "renamed":
            return f"column {self.column!r}: the source calls it {self.after!r} now"
        if self.kind == "new_column":
            return f"column {self.column!r}: contract does not know it, source has {self.after}"
        said = "it was loaded as" if self.unknown else "contract says"
        return f"column {self.column!r}: {said} {self.before}, source has {self.after}"


@dataclass(frozen=True)
class Known:
    """The shapes that streams were last published in. `anew`: all is read anew, so that a column is what has its name."""

    shapes: Mapping[str, StreamSchema]
    anew: bool = False


NOTHING_KNOWN = Known({})


def type_change(declared: str, now: str) -> str:
    """The kind of change between two types of PostgreSQL; empty when they are the same."""
    if declared == now:
        return ""
    if widens(declared, now):
        return "widened"
    return "narrowed" if keeps(declared, now) else "retyped"


#: Of two types, as the source names them: widened, narrowed or retyped; empty when both hold the same values.
TypeChange = Callable[[str, str], str]


@dataclass(frozen=True)
class Comparison:
    """What differs, and under which name each column of the source is read; one that is not read is not there."""

    changes: tuple[Change, ...]
    names: dict[str, str]


def compare(
    contract: SourceContract,
    stream: Stream,
    found: Sequence[Found],
    key: tuple[str, ...],
    before: Known = NOTHING_KNOWN,
    table: int = 0,
    type_change: TypeChange = type_change,
) -> Comparison:
    """Compare a table with its stream.

    :param key: columns of its primary key, as the source calls them. :param before: what is known from the load before.
    :param table: identifies the table; numbers of columns count only where it is the same as then.
    :param type_change: what kind of change lies between two types, as this kind of system names them.
    """
    last_shape = before.shapes.get(stream.name, StreamSchema(()))
    known = {one.number: one for one in last_shape.columns if one.number and last_shape.table == table}
    renamed = _renamed(stream, found, last_shape, known, before.anew)
    moved = {column.name for column in renamed.values()}
    there = {column.name: column for column in found if column.name not in moved} | renamed
    changes: list[Change] = []
    names: dict[str, str] = {}
    for name, rule in stream.columns.items():
        if rule.ignore:
            continue
        column = there.get(name)
        if column is None:
            changes.append(Change("dropped", name, rule.type, "no such column"))
            continue
        names[column.name] = name
        if column.name != name:
            changes.append(Change("renamed", name, name, column.name))
        kind = type_change(rule.type, column.type)
        if kind:
            changes.append(Change(kind, name, rule.type, column.type))
    unknown: dict[str, str] = {}
    for column in found:
        rule_of = stream.columns.get(column.name)
        if column.name in names or (rule_of and rule_of.ignore):
            continue
        changes.append(Change("new_column", column.name, "", column.type))
        unknown[column.name] = column.name
        last = known.get(column.number)
        if contract.schema_answers.new_column == "evolve" and last and last.name not in stream.columns:
            # It was new before, and is in raw: what has become of it since is a change too.
            unknown[column.name] = last.name
            if last.name != column.name:
                changes.append(Change("renamed", last.name, last.name, column.name, unknown=True))
            kind = type_change(last.source_type, column.type)
            if kind:
                changes.append(Change(kind, last.name, last.source_type, column.type, unknown=True))
    ours = tuple(names.get(name, name) for name in key)
    if key and stream.primary_key and set(ours) != set(stream.primary_key):
        declared, now = (", ".join(map(_plain, one)) for one in (stream.primary_key, ours))
        changes.append(Change("changed_key", "", declared, now))
    gone = _personal_and_gone(stream, there)
    answered = tuple(_answered(contract, stream, change, gone) for change in changes)
    read = {one.column for one in answered if one.kind == "new_column" and one.answer == "evolve"}
    return Comparison(answered, names | {name: unknown[name] for name in read})


def refuse(contract: SourceContract, changes: Mapping[str, Sequence[Change]], unread: Sequence[str]) -> None:
    """Nothing, unless one of these changes, of whichever stream, has to stop the source.

    :param unread: tables that no stream reads.
    :raises SchemaChanged: with every such change, and what to write into the contract once it is agreed on.
    """
    frozen = {
        stream: [one for one in found if one.answer == "freeze"]
        for stream, found in changes.items()
        if any(one.answer == "freeze" for one in found)
    }
    tables = list(unread) if contract.schema_answers.new_table == "freeze" else []
    if not frozen and not tables:
        return
    lines = [f"{stream}: {change}" for stream, found in frozen.items() for change in found]
    lines += [f"table {table}: no stream reads it (new_table)" for table in tables]
    todo = f"agree with the owner ({contract.owner.team}, {contract.owner.contact})"
    if frozen:
        todo += ", then bring the contract up to date:\n" + correction(frozen)
    if tables:
        todo += "\n  read the table in a stream of its own, or name it in unread_tables"
    alone = f", stream {next(iter(frozen))!r}" if len(frozen) == 1 and not tables else ""
    raise SchemaChanged(
        "the source's shape differs from the contract; nothing was read",
        where=f"source {contract.source!r}{alone}",
        received="\n            ".join(lines),
        allowed="the contract's columns, and what on_schema_change lets pass",
        todo=todo,
        causes=[
            *(f"{stream}: {'; '.join(map(str, found))}" for stream, found in frozen.items()),
            *(f"table {table}" for table in tables),
        ],
    )


def correction(changes: Mapping[str, Sequence[Change]]) -> str:
    """The part of a contract that has to say something else, as YAML, for a person to put in its place."""
    lines = ["streams:"]
    for stream, found in changes.items():
        lines.append(f"- name: {_plain(stream)}")
        # Of a column that the contract does not know, that it is new says all.
        found = [one for one in found if not one.unknown or one.answer == "freeze"]
        names = {one.column: one.after for one in found if one.kind == "renamed"}
        retyped = {one.column for one in found if one.kind in ("widened", "narrowed", "retyped")}
        columns = [
            _corrected(one, names.get(one.column, one.column))
            for one in found
            if one.kind != "changed_key" and not (one.kind == "renamed" and one.column in retyped)
        ]
        lines += [f"  primary_key: [{one.after}]" for one in found if one.kind == "changed_key"]
        lines += ["  columns:", *columns] if columns else []
    return "\n".join(f"    {line}" for line in lines)


def _corrected(change: Change, name: str) -> str:
    before = change.column if change.kind == "renamed" else change.before
    if change.kind == "dropped":
        return f"    # {_plain(name)}: take it out"
    if change.kind == "new_column":
        return f"    {_plain(name)}: {{type: {_plain(change.after)}}}  # new"
    if name != change.column and change.kind != "renamed":
        before = f"{change.column}, {before}"
    what = "" if change.kind == "renamed" else f" {{type: {_plain(change.after)}}}"
    return f"    {_plain(name)}:{what}  # was {before}; keep its other fields"


def _plain(text: str) -> str:
    """As YAML writes it, in quotes where it needs them."""
    words = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
    plain = re.fullmatch(r"[A-Za-z_][\w ()$]*", text) and text.lower() not in words
    return text if plain else json.dumps(text, ensure_ascii=False)


def _renamed(
    stream: Stream, found: Sequence[Found], last: StreamSchema, known: Mapping[int, Column], anew: bool
) -> dict[str, Found]:
    by_name = {column.name: column for column in found}
    by_number = {known[column.number].name: column for column in found if column.number in known}
    # Where the table is another one, as after a restore, a column that had another name there may still have it.
    kept = {
        column.name: by_name[column.source_name] for column in last.columns if column.source_name in by_name
    }
    renamed = {}
    for name, rule in stream.columns.items():
        now = by_number.get(name) or (kept.get(name) if not known else None)
        if rule.ignore or now is None or now.name == name:
            continue
        # Unless only the old name is gone, it is a swap of names; or the contract speaks of the new one already.
        if (name not in by_name and now.name not in stream.columns) or (
            name in by_name and known and not anew
        ):
            renamed[name] = now
    return renamed


def _personal_and_gone(stream: Stream, there: Mapping[str, Found]) -> list[str]:
    return [
        name
        for name, rule in stream.columns.items()
        if (rule.ignore or rule.protect or rule.pii) and name not in there
    ]


def _answered(contract: SourceContract, stream: Stream, change: Change, gone: list[str]) -> Change:
    answer = getattr(contract.schema_answers, change.kind)
    why = ""
    if change.kind == "dropped" and change.column in _needed(stream):
        why = "rows cannot be read or merged without it"
    elif change.kind == "new_column" and answer != "ignore":
        if change.column in stream.columns:
            why = "its name is that of another column in the contract"
        elif change.column in _reserved(stream):
            why = "raw needs this name for itself"
        elif answer == "evolve" and gone:
            # What was kept out may have come back under another name.
            why = f"may be what {', '.join(gone)} was, which was personal or not to be read"
    if why and answer != "freeze":
        return replace(change, answer="freeze", why=why)
    return replace(change, answer=answer)


def _reserved(stream: Stream) -> set[str]:
    changes = [column.name for column in ADDED] if stream.mode == "log" else []
    return {*RESERVED_COLUMNS, *changes, *(["_change"] if stream.history == "append" else [])}


def _needed(stream: Stream) -> set[str]:
    references = {name for reference in stream.references for name in reference.columns}
    return {*stream.primary_key, *references, *([stream.stamp] if stream.stamp else [])}
