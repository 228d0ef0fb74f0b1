"""What a field takes, in words: for messages and for the reference in docs/contracts.md."""

from __future__ import annotations

import types
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from include.core.contracts.common import Share

_PLAIN = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Any: "anything",
    date: "a date such as 2026-12-31",
    datetime: "a time with its zone, such as 2026-12-24T18:00+01:00",
    timedelta: "a duration such as 30s, 15m, 2h or 1d 12h",
}


def members(annotation: Any) -> tuple[Any, ...]:
    """The forms that a field may take, without None; one for a field that is no choice."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(
            form for part in get_args(annotation) if part is not type(None) for form in members(part)
        )
    return (annotation,)


def is_model(annotation: Any) -> bool:
    """Whether it is a mapping with fields of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def items_of(annotation: Any) -> Any:
    """What a list or mapping holds; None for anything else."""
    origin, parts = get_origin(_bare(annotation)), get_args(_bare(annotation))
    return parts[0] if origin is tuple else parts[1] if origin is dict else None


def describe(annotation: Any) -> str:
    """What may stand there."""
    return "; or ".join(_one(form) for form in members(annotation))


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _one(form: Any) -> str:
    if form == Share:
        return "a number from 0 to 1"
    form = _bare(form)
    origin = get_origin(form)
    if origin is Literal:
        return ", ".join(str(value) for value in get_args(form))
    if origin is tuple:
        return f"a list ({describe(items_of(form))})"
    if origin is dict:
        return f"a mapping of names ({describe(items_of(form))})"
    if is_model(form):
        return "a mapping with " + ", ".join(form.model_fields)
    return _PLAIN[form]
