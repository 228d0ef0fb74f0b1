"""The reference of all contract fields, written from the models, so that it says what they do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from include.core.contracts.describe import describe, is_model, items_of, members
from include.core.contracts.load import KINDS
from include.core.interval import show_duration


def reference() -> str:
    """Markdown: one table for each kind of contract and for each group of fields in it."""
    return "\n".join(line for kind in KINDS for line in _kind(kind))


def models(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The model and every model inside it, by the way to it (`streams[].columns.*`; its own is empty)."""
    found: dict[str, type[BaseModel]] = {"": kind}
    for way, model in list(found.items()):
        found |= _inside(way, model)
    return found


def _inside(way: str, model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for form in members(field.annotation):
            step = f"{way}.{name}".lstrip(".")
            inner = form if is_model(form) else items_of(form)
            if not is_model(inner):
                continue
            if inner is not form:
                step += ".*" if getattr(form, "__origin__", None) is dict else "[]"
            if "type" in inner.model_fields and len(members(field.annotation)) > 1:
                step += f" (type: {inner.model_fields['type'].annotation.__args__[0]})"
            found[step] = inner
            found |= _inside(step, inner)
    return found


def _kind(kind: type[BaseModel]) -> Iterator[str]:
    folder, name = KINDS[kind]  # type: ignore[index]
    yield f"## {name}: `include/contracts/{folder}/NAME.yaml`"
    yield ""
    for way, model in models(kind).items():
        if model.__name__ == "Accepted":
            continue  # described once, by hand
        yield f"### {name} `{way}`" if way else f"### {name}: all fields"
        yield ""
        yield "| field | takes | default | what it is for |"
        yield "|---|---|---|---|"
        for field, info in model.model_fields.items():
            takes, about = _cell(describe(info.annotation)), _cell(info.description or "")
            yield f"| `{field}` | {takes} | {_default(info)} | {about} |"
        yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value: Any = field.default
    if isinstance(value, timedelta):
        return f"`{show_duration(value)}`"
    if isinstance(value, BaseModel):
        return "its fields' defaults"
    if value in (None, (), "", {}):
        return "none"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
