"""What is wrong in a contract file, in its own words: line, field, what was received, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from include.core.contracts.describe import describe, is_model, items_of, members
from include.core.errors import ContractError

Place = tuple[str | int, ...]
Lines = dict[Place, int]


@dataclass(frozen=True)
class Fault:
    """One fault, or, when it is no more than advice, one warning."""

    path: Path
    line: int
    field: str
    what: str
    received: str
    allowed: str
    warning: bool = False

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.field}: {self.what}\n"
            f"  received: {self.received}\n  allowed:  {self.allowed}"
        )


class FaultyContract(ContractError):
    """Contract files with faults, all of them in `faults`."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, faults)))


@dataclass(frozen=True)
class Document:
    """A file as it was read: its data, and the line of each field."""

    path: Path
    data: dict[str, Any]
    lines: Lines

    def fault(self, at: Place, what: str, received: object, allowed: str, *, warning: bool = False) -> Fault:
        """A fault at a field, or at the nearest thing around it that stands in the file."""
        near = at
        while near and near not in self.lines:
            near = near[:-1]
        return Fault(
            self.path,
            self.lines.get(near, 1),
            self._name(at),
            what,
            shown(received),
            allowed,
            warning=warning,
        )

    def _name(self, at: Place) -> str:
        """`streams.orders.mode`: items of a list by their own name where they have one."""
        text, value = "", self.data
        for part in at:
            value = _child(value, part)
            name = value.get("name") if isinstance(value, dict) and isinstance(part, int) else part
            text += f"[{part}]" if not isinstance(name, str) else f".{name}"
        return text.removeprefix(".") or "(whole file)"


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


def shown(value: object) -> str:
    """A value as a message shows it."""
    if isinstance(value, dict):
        return "a mapping with " + (", ".join(map(str, value)) or "nothing in it")
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def faults_of(kind: type[BaseModel], document: Document, error: ValidationError) -> list[Fault]:
    """Every fault that pydantic found, once each: of a choice of forms only the one that was meant counts."""
    found: dict[tuple[Place, str], Fault] = {}
    errors = [(_locate(kind, document.data, one["loc"]), one) for one in error.errors(include_url=False)]
    renamed = _renamed([place for place, one in errors if place and one["type"] == "extra_forbidden"])
    for place, one in errors:
        if place is None or (one["type"] == "missing" and place.at in renamed.values()):
            continue
        if one["type"] == "too_short" and place.value:
            continue  # its items have faults of their own
        for at, what, received, allowed in _explain(place, one, renamed):
            found.setdefault((at, allowed), document.fault(at, what, received, allowed))
    return sorted(found.values(), key=lambda fault: fault.line)


class _Spot(NamedTuple):
    """Where an error is: the way there, what the file has, what the model wants, and the model around it."""

    at: Place
    value: Any
    wanted: Any
    field: FieldInfo | None
    owner: Any


def _locate(kind: Any, data: Any, location: Place) -> _Spot | None:
    """Follow pydantic's location, in which the tried forms of a choice stand between the file's own fields.

    None: the error is about a form that was not meant.
    """
    at: Place = ()
    wanted, value, field, owner = kind, data, None, None
    for part in location:
        forms = members(wanted)
        if len(forms) > 1:
            meant = _meant(forms, value)
            if meant is None:
                break
            if part not in (meant.__name__, value.get("type") if isinstance(value, dict) else None) and not (
                isinstance(value, list) and str(part).startswith("tuple[")
            ):
                return None
            wanted = meant
            continue
        wanted = forms[0]
        if is_model(wanted):
            owner, field = wanted, wanted.model_fields.get(str(part))
            wanted = field.annotation if field else None
        else:
            owner, field, wanted = None, None, items_of(wanted)
        at, value = (*at, part), _child(value, part)
    return _Spot(at, value, wanted, field, owner)


def _meant(forms: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, dict):
        models = [form for form in forms if is_model(form)]
        tagged = [form for form in models if "type" in form.model_fields]
        named = [
            form for form in tagged if value.get("type") in form.model_fields["type"].annotation.__args__
        ]
        # of several without a type the one is meant that most of the given fields belong to
        return max(named or models, key=lambda form: len(set(value) & set(form.model_fields)), default=None)
    if isinstance(value, list):
        return next((form for form in forms if items_of(form) is not None and not is_model(form)), None)
    return None


def _child(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return NOTHING


def _renamed(unknown: list[_Spot]) -> dict[Place, Place]:
    """Unknown fields that look like a misspelt one, which is then not missing as well."""
    pairs = {}
    for spot in unknown:
        close = difflib.get_close_matches(str(spot.at[-1]), list(spot.owner.model_fields), 1, cutoff=0.7)
        if close:
            pairs[spot.at] = (*spot.at[:-1], close[0])
    return pairs


def _explain(spot: _Spot, error: Any, renamed: dict[Place, Place]) -> Iterator[tuple[Place, str, Any, str]]:
    kind = error["type"]
    if kind == "faults":
        for fault in error["ctx"]["faults"]:
            yield (*spot.at, *fault["at"]), "not allowed", fault["received"], fault["allowed"]
    elif kind == "missing":
        about = spot.field.description if spot.field and spot.field.description else ""
        yield spot.at, "missing field", NOTHING, f"{describe(spot.wanted)}. {about}".rstrip(". ")
    elif kind == "extra_forbidden":
        guess = renamed.get(spot.at)
        what = f"unknown field; did you mean {guess[-1]!r}?" if guess else "unknown field"
        yield spot.at, what, spot.value, ", ".join(spot.owner.model_fields)
    elif kind == "union_tag_not_found":
        yield (*spot.at, "type"), "missing field", NOTHING, _tags(spot.wanted)
    elif kind == "union_tag_invalid":
        yield (*spot.at, "type"), "not allowed", spot.value["type"], _tags(spot.wanted)
    elif kind == "value_error" and len(members(spot.wanted)) == 1:
        yield spot.at, "not allowed", spot.value, str(error["ctx"]["error"])
    elif kind in _LIMITS and len(members(spot.wanted)) == 1:
        yield (
            spot.at,
            "not allowed",
            spot.value,
            f"{describe(spot.wanted)}, {_LIMITS[kind].format(**error['ctx'])}",
        )
    else:
        quote = (
            "; put it in quotes" if kind == "string_type" and not isinstance(spot.value, dict | list) else ""
        )
        yield spot.at, "not allowed", spot.value, describe(spot.wanted) + quote


_LIMITS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} at most",
    "too_short": "{min_length} at least",
    "string_too_short": "{min_length} character at least",
}


def _tags(wanted: Any) -> str:
    return ", ".join(tag for form in members(wanted) for tag in form.model_fields["type"].annotation.__args__)
