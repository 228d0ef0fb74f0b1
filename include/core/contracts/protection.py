"""What a contract may say beside `protect`: whatever needs the clear value is refused, because only the source has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.core.contracts.common import Faults

if TYPE_CHECKING:
    from include.core.contracts.source import SourceContract
    from include.core.contracts.stream import ColumnRule, Stream


def check_rule(faults: Faults, rule: ColumnRule) -> None:
    """Faults of one column's rule."""
    if rule.protect is None:
        return
    if rule.ignore:
        faults.add("protect", received=rule.protect, allowed="nothing: with ignore: true no value is read")
    for name in ("values", "min", "max", "pattern"):
        if getattr(rule, name) is not None:
            allowed = (
                f"no {name} beside protect: an audit sees only what stands for a value; not_null can be judged,"
                " anything else by the source itself, such as a check constraint"
            )
            faults.add(name, received=getattr(rule, name), allowed=allowed)


def check_stream(faults: Faults, stream: Stream) -> None:
    """Faults of a stream's key and cursor."""
    for place, name in enumerate(stream.primary_key):
        if stream.protected.get(name) == "mask":
            allowed = "protect: hash or token for a column of the key; a mask is the same in every row"
            faults.add("primary_key", place, received=name, allowed=allowed)
    if stream.cursor in stream.protected:
        allowed = "a column without protect: increments are read by the cursor's values"
        faults.add("cursor", received=stream.cursor, allowed=allowed)


def check_source(faults: Faults, contract: SourceContract) -> None:
    """Faults between streams, and missing keys. Columns and streams that are named are there."""
    for number, stream in enumerate(contract.streams):
        keyed = [name for name, how in stream.protected.items() if how != "mask"]
        if keyed and contract.privacy_keys is None:
            allowed = "mask; or privacy_keys beside connection: the Airflow connection that holds the keys"
            at = ("streams", number, "columns", keyed[0], "protect")
            faults.add(*at, received=stream.protected[keyed[0]], allowed=allowed)
        for place, reference in enumerate(stream.references):
            parents = [other for other in contract.streams if other.name == reference.stream]
            pairs = zip(reference.columns, parents[0].primary_key if parents else (), strict=False)
            for column, (ours, theirs) in enumerate(pairs):
                here, there = (_said(stream, ours), _said(parents[0], theirs))
                if here != there:
                    allowed = f"the same as {reference.stream}.{theirs}, which has {there}: else no row finds its other"
                    way = ("streams", number, "references", place, "columns", column)
                    faults.add(*way, received=f"{ours} with {here}", allowed=allowed)


def _said(stream: Stream, column: str) -> str:
    how = stream.protected.get(column)
    return f"protect: {how}" if how else "no protect"
