"""A plan in words, for the log of a task and for the command line. Personal values are hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from include.activation import Change, Plan
from include.core.contracts.sync import SyncContract
from include.quality.gate import hidden

_LONGEST = 80


def plan_lines(contract: SyncContract, plan: Plan, personal: frozenset[str]) -> Iterator[str]:
    """Counts, and some changes field by field.

    :param personal: fields of the destination whose values are not shown.
    """
    target = contract.destination
    yield f"{contract.sync}: activation.{contract.model} ({plan.model_version})"
    yield f"  to {target.place} by connection {target.connection}, mode {contract.mode}"
    counts = {
        "in the model": (plan.read, ""),
        "unchanged": (plan.unchanged, ""),
        "held": (plan.held, f"rejected too often; to send them again: millrace sync retry {contract.sync}"),
        "to create": (plan.creates, "if they are there" if contract.mode == "update" else ""),
        "to update": (plan.updates, ""),
        "to delete": (plan.deletes, f"of {plan.known + plan.gone} that are there"),
        "rejected before": (plan.again, "of these"),
    }
    for name, (count, note) in counts.items():
        yield f"  {name:<16} {count:>12,}" + (f"   {note}" if count and note else "")
    if plan.samples:
        yield "for example"
    for change in plan.samples:
        yield from change_lines(contract, change, personal)


def change_lines(contract: SyncContract, change: Change, personal: frozenset[str]) -> Iterator[str]:
    """One change: of an update the fields that differ from what the destination acknowledged."""
    yield f"  {change.action} {shown_key(contract, change.key, personal)}"
    if change.action == "delete":
        return
    after = fields(change.body)
    before = fields(change.before) if change.before else {}
    known = change.action == "update" and bool(before)
    for name in sorted(after | before):
        if name == contract.destination.key or (known and after.get(name) == before.get(name)):
            continue
        values = [_shown(name, one[name], personal) for one in (before, after) if name in one]
        yield f"    {name}: {' → '.join(values)}" + ("" if name in after else " → (no longer sent)")
    if change.action == "update" and not before:
        yield "    (what it holds is not known)"
    elif known and after == before:
        yield "    (the same values again: whether they arrived is not known)"


def shown_key(contract: SyncContract, key: str, personal: frozenset[str]) -> str:
    """A key, unless it is somebody's address."""
    return hidden(key, is_key=True) if contract.destination.key in personal else key


def shown_fields(body: str, personal: frozenset[str]) -> Iterator[str]:
    """A record that a destination acknowledged, field by field."""
    for name, value in sorted(fields(body).items()):
        yield f"{name}: {_shown(name, value, personal)}"


def fields(body: str) -> dict[str, Any]:
    """The fields of a record, those of nested JSON by names with dots."""
    return dict(_flat("", json.loads(body)))


def _flat(prefix: str, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(f"{prefix}{name}.", inner)
        else:
            yield prefix + name, inner


def _shown(name: str, value: Any, personal: frozenset[str]) -> str:
    # A column of JSON has fields of its own, and is as personal as itself.
    if any(name == one or name.startswith(f"{one}.") for one in personal):
        return hidden(value, is_key=False)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
