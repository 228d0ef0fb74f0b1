"""Reading docker-compose.yaml as compose does: merged, and with the variables of an .env file put in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")
_EXAMPLE = re.compile(r"^(?P<optional># )?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$", re.MULTILINE)


class Variables:
    """The variables that a compose file asks for: required ones, and optional ones with their defaults."""

    def __init__(self, text: str) -> None:
        self.required: set[str] = set()
        self.optional: dict[str, str] = {}
        code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        for found in _VARIABLE.finditer(code):
            if found["kind"] == "-":
                self.optional[found["name"]] = found["text"]
            elif found["name"]:
                self.required.add(found["name"])


def load(path: Path, variables: dict[str, str]) -> dict[str, Any]:
    """The file with `variables` put in. A required one that is missing or empty is a KeyError that names it."""

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put(part) for key, part in value.items()}
        if isinstance(value, list):
            return [put(part) for part in value]
        return (
            _VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value
        )

    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {key: put(value) for key, value in document.items() if not key.startswith("x-")}


def _value(found: re.Match[str], variables: dict[str, str]) -> str:
    if found["name"] is None:
        return "$"
    value = variables.get(found["name"], "")
    if not value and found["kind"] == "-":
        return found["text"]
    if not value:
        raise KeyError(found["name"])
    return value


def example(path: Path) -> tuple[set[str], dict[str, str]]:
    """The names that an .env example leaves to be filled in, and its optional ones with their defaults."""
    entries = list(_EXAMPLE.finditer(path.read_text(encoding="utf-8")))
    optional = {entry["name"]: entry["value"] for entry in entries if entry["optional"]}
    return {entry["name"] for entry in entries if not entry["optional"]}, optional
