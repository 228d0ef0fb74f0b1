"""Which expectations a table must meet: those its contract implies, and those written by hand in `include/suites`."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.core.contracts.source import ColumnRule, SourceContract, Stream
from include.core.errors import ContractError
from include.core.quoting import identifier
from include.quality import in_sql

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation


@dataclass(frozen=True)
class BatchFacts:
    """What an audit has to know of a staging batch beyond its rows.

    :param complete: it is the whole table.
    :param span: the time in which its rows were generated; None when that is not known, as at the first load.
    :param live: rows among them that raw holds already, because the batch is a snapshot or was read by its
        transactions; 0 for an increment by a stamp.
    :param parents: for each stream referred to, the relations (as SQL) that together hold its rows.
    """

    complete: bool
    span: timedelta | None
    live: int
    parents: dict[str, tuple[str, ...]]


def suites_folder() -> Path:
    """Where hand-written suites are read: `include/suites`, or the folder that MILLRACE_SUITES names."""
    return Path(os.environ.get("MILLRACE_SUITES") or Path(__file__).resolve().parents[1] / "suites")


def file(schema: str, table: str) -> Path:
    """Where the suite of a table is written, whether it is there or not."""
    return suites_folder() / schema / f"{table}.py"


def written(schema: str, table: str) -> list[Expectation]:
    """The hand-written expectations of a table, from `<suites>/<schema>/<table>.py`; none when there is no such file.

    :raises ContractError: the file has no function `expectations`.
    """
    path = file(schema, table)
    if not path.is_file():
        return []
    spec = importlib.util.spec_from_file_location(f"suite {schema}.{table}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "expectations"):
        raise ContractError(
            "the suite has no expectations",
            where=str(path),
            allowed="def expectations() -> list[gxe.Expectation]",
        )
    return list(module.expectations())


def derived(contract: SourceContract, stream: Stream, facts: BatchFacts) -> list[Expectation]:
    """The expectations that a source contract implies for one staging batch."""
    # Where bad rows are set aside, each of them has to be found.
    tolerated = 0.0 if contract.quarantines(stream) else contract.tolerance()
    return [
        *_key(contract, stream),
        *(
            e
            for name, rule in stream.columns.items()
            if not rule.ignore
            for e in _column(name, rule, tolerated)
        ),
        *_volume(stream, facts),
        *_references(contract, stream, facts),
    ]


def _key(contract: SourceContract, stream: Stream) -> list[Expectation]:
    import great_expectations.expectations as gxe

    key = stream.primary_key
    unique = f"primary key ({', '.join(key)}) is unique" if key and contract.duplicates == "none" else None
    if in_sql.unsaid(*key):
        return in_sql.key_rules(key, unique)
    rules: list[Any] = [
        gxe.ExpectColumnValuesToNotBeNull(
            column=name, severity="critical", description=f"primary key {name} is not null"
        )
        for name in key
    ]
    # Its own query for the rows of a compound key cannot be run (1.24).
    common: dict[str, Any] = {
        "severity": "critical", "description": unique, "meta": {in_sql.ROWS: in_sql.twice(key)}
    }  # fmt: skip
    if unique and len(key) == 1:
        rules.append(gxe.ExpectColumnValuesToBeUnique(column=key[0], **common))
    elif unique:
        rules.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(key), **common))
    return rules


def _column(name: str, rule: ColumnRule, tolerated: float) -> list[Expectation]:
    import great_expectations.expectations as gxe

    said = _descriptions(name, rule)
    if in_sql.unsaid(name):
        return in_sql.column_rules(name, rule, tolerated, said)
    common: dict[str, Any] = {"column": name, "severity": "critical", "mostly": 1 - tolerated}
    made: dict[str, Callable[..., Any]] = {
        "not_null": gxe.ExpectColumnValuesToNotBeNull,
        "values": partial(gxe.ExpectColumnValuesToBeInSet, value_set=list(rule.values or ())),
        "limits": partial(gxe.ExpectColumnValuesToBeBetween, min_value=rule.min, max_value=rule.max),
        "pattern": partial(gxe.ExpectColumnValuesToMatchRegex, regex=rule.pattern),
    }
    return [made[field](**common, description=description) for field, description in said.items()]


def _descriptions(name: str, rule: ColumnRule) -> dict[str, str]:
    """What a contract asks of a column, in words."""
    said = {}
    if rule.not_null:
        said["not_null"] = f"{name} is not null"
    if rule.values is not None:
        said["values"] = f"{name} is one of {', '.join(rule.values)}"
    if rule.min is not None or rule.max is not None:
        low, high = (rule.min if rule.min is not None else "-∞"), (rule.max if rule.max is not None else "∞")
        said["limits"] = f"{name} is between {low} and {high}"
    if rule.pattern is not None:
        said["pattern"] = f"{name} matches {rule.pattern}"
    return said


def _volume(stream: Stream, facts: BatchFacts) -> list[Expectation]:
    import great_expectations.expectations as gxe

    least = stream.min_rows if facts.complete and stream.min_rows else None
    most = None
    if isinstance(stream.max_rows_per_day, int) and facts.span is not None:
        # A pull after a few minutes may still bring a day's worth that was written in one go.
        most = facts.live + stream.max_rows_per_day * max(1, math.ceil(facts.span / timedelta(days=1)))
    if least is None and most is None:
        return []
    limits = f"{least or 0} to {most if most is not None else 'any number of'} rows"
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=least, max_value=most, severity="critical", description=f"the batch has {limits}"
        )
    ]


def _references(contract: SourceContract, stream: Stream, facts: BatchFacts) -> list[Expectation]:
    rules: list[Any] = []
    for reference in stream.references:
        parents = facts.parents.get(reference.stream, ())
        if not parents:
            continue
        pairs = zip(contract.stream(reference.stream).primary_key, reference.columns, strict=True)
        same = " and ".join(f"p.{identifier(theirs)} = b.{identifier(ours)}" for theirs, ours in pairs)
        orphan = " and ".join(f"not exists (select from {parent} as p where {same})" for parent in parents)
        ours = [identifier(column) for column in reference.columns]
        present = " and ".join(f"{name} is not null" for name in ours)
        # a key of the parent at a time: a small batch must not cost a scan of a large parent
        query = f"with b as (select {', '.join(ours)} from {in_sql.BATCH} where {present}) select * from b where {orphan}"
        words = f"({', '.join(reference.columns)}) refers to a row of {reference.stream}"
        rows = f"select b.ctid from {in_sql.BATCH} as b where {present} and {orphan}"
        rules.append(in_sql.no_rows(query, rows=rows, severity=reference.severity, description=words))
    return rules
