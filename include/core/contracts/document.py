"""Reading YAML with the line of each field, and with nothing guessed that a contract needs literally."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from include.core.contracts.faults import NOTHING, Document, Fault, FaultyContract, Place

# where a field begins that is not part of another one; the items of a list may stand as far left
_FIELD = re.compile(r"^(?=[^\s#-])", re.MULTILINE)
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """Names are always text: a column may be called `on` or `2024`. Impossible dates stay text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]

    def construct_yaml_timestamp(self, node: Any) -> Any:
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError:
            return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def read_document(path: Path) -> Document:
    """The file's data and the line of each field.

    :raises FaultyContract: the file cannot be read, is no YAML mapping, or says something twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        lines = dict(_places(path, node, ()))
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _unreadable(path, line, f"is not YAML: {error.problem}", NOTHING) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, 1, "is not YAML in UTF-8", str(error).splitlines()[0]) from None
    except OSError as error:
        raise _unreadable(path, 1, "cannot be read", error.strerror) from None
    if not isinstance(data, dict):
        raise _unreadable(path, 1, "is empty or no mapping", data)
    return Document(path, data, lines)


def readable_data(path: Path) -> dict[str, Any]:
    """What can be read of a file with faults: each top-level field by itself, without those that are no YAML."""
    data: dict[str, Any] = {}
    with suppress(OSError):
        for field in _FIELD.split(path.read_text(encoding="utf-8", errors="replace")):
            with suppress(yaml.YAMLError, TypeError, ValueError):
                found = yaml.load(field, Loader=_Loader)
                data |= found if isinstance(found, dict) else {}
    return data


def _unreadable(path: Path, line: int, what: str, received: object) -> FaultyContract:
    allowed = "a mapping in YAML, with fields such as `source: shop`; indent with spaces, two a level"
    return FaultyContract([Fault(path, line, "(whole file)", what, str(received), allowed)])


def _places(path: Path, node: Any, at: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _unreadable(path, line, "a field's name must be text", "a list or a mapping as a name")
            if key.value in seen:
                field = ".".join(map(str, (*at, key.value)))
                what = f"field stands twice, in lines {seen[key.value]} and {line}"
                allowed = "each field once: the second would silently win"
                raise FaultyContract([Fault(path, line, field, what, repr(key.value), allowed)])
            seen[key.value] = line
            yield (*at, key.value), line
            yield from _places(path, value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _places(path, value, (*at, index))
