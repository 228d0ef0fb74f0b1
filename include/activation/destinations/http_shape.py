"""Requests as an API's declaration wants them, and its answers as outcomes. Nothing here touches the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from include.activation.records import DELIVERED, Outcome, Record
from include.core.contracts.destinations import HttpDestination
from include.core.contracts.http_api import Action, Reply, Request, fill, placeholders

_REASON_CHARACTERS = 500
#: Finds the destination's own id of a key.
Ids = dict[str, str]


@dataclass(frozen=True)
class _Slot:
    """A place in a template that each record, or each request, fills."""

    name: str


class Renderer:
    """Makes the path and body of one kind of request. Templates are taken apart once; a record costs a join."""

    def __init__(self, request: Request, target: HttpDestination, fields: Sequence[str]) -> None:
        self._static = target.settings | {"key_field": target.key}
        self._fields = list(fields)
        self._nulls = target.shape.nulls
        self.method, self.max_batch = request.method, request.max_batch
        self._path = fill(request.path, self._static | {"fields": ",".join(map(quote, fields))})
        self._in_path = placeholders(self._path)
        self._of_fields = self._in_path - {"key", "id", "next"}
        #: One record a request, because the path speaks of one.
        self.single = bool(self._in_path - {"next"})
        #: The destination's own id has to be known.
        self.needs_id = "id" in self._in_path | placeholders((request.body, request.record))
        #: Neither path nor body speaks of records: what comes is a list of all.
        self.lists = not self.single and "records" not in placeholders(request.body)
        self._body = None if request.body is None else self._pieces(request.body)
        self._record = self._pieces(request.record)

    def path(self, records: Sequence[Record], ids: Ids | None = None, next_page: str = "") -> str:
        if not self._in_path:
            return self._path
        values = {"next": quote(next_page, safe="")}
        if self.single:
            key = records[0].key
            values |= {"key": quote(key, safe=""), "id": quote((ids or {}).get(key, ""), safe="")}
        if self._of_fields:
            body = orjson.loads(records[0].body)
            values |= {name: quote(as_text(body.get(name)), safe="") for name in self._of_fields}
        return fill(self._path, values)

    def body(self, records: Sequence[Record], ids: Ids | None = None) -> bytes | None:
        if self._body is None:
            return None
        rendered = [self._join(self._record, self._values(record, ids)) for record in records]
        values = {"records": "[" + ",".join(rendered) + "]"}
        if self.single:
            values |= self._values(records[0], ids)
        return self._join(self._body, values).encode()

    def _values(self, record: Record, ids: Ids | None) -> dict[str, str]:
        body = self._without_nulls(record.body)
        values = {"key": orjson.dumps(record.key).decode(), "record": body, "...": body.strip()[1:-1]}
        if ids is not None:
            values["id"] = orjson.dumps(ids.get(record.key)).decode()
        return values

    def _without_nulls(self, body: str) -> str:
        if self._nulls == "null" or "null" not in body:
            return body
        fields = orjson.loads(body)
        if self._nulls == "omit":
            kept = {name: value for name, value in fields.items() if value is not None}
        else:
            kept = {name: "" if value is None else value for name, value in fields.items()}
        return orjson.dumps(kept).decode()

    def _join(self, pieces: list[str | _Slot], values: dict[str, str]) -> str:
        return "".join(piece if isinstance(piece, str) else values[piece.name] for piece in pieces)

    def _pieces(self, template: Any) -> list[str | _Slot]:
        """A template as JSON text with slots."""
        if isinstance(template, dict):
            pieces: list[str | _Slot] = ["{"]
            for number, (name, value) in enumerate(template.items()):
                comma = "," if number else ""
                if name == "...":
                    pieces += [comma, _Slot("...")]
                else:
                    pieces += [f"{comma}{orjson.dumps(name).decode()}:", *self._pieces(value)]
            return [*pieces, "}"]
        if isinstance(template, list):
            parts = [piece for value in template for piece in (",", *self._pieces(value))]
            return ["[", *parts[1:], "]"]
        if isinstance(template, str):
            if template == "{fields}":
                return [orjson.dumps(self._fields).decode()]
            if template in ("{records}", "{record}", "{key}", "{id}"):
                return [_Slot(template[1:-1])]
            return [orjson.dumps(fill(template, self._static)).decode()]
        return [orjson.dumps(template).decode()]


class Reader:
    """Reads the answers of one action: a word about each record, and why a request was refused."""

    def __init__(self, action: Action, target: HttpDestination) -> None:
        self._reply: Reply = action.reply.model_copy(
            update={
                name: tuple(fill(path, {"key_field": target.key}) for path in getattr(action.reply, name))
                for name in ("id", "refers")
            }
        )
        self._errors = target.shape.errors

    def outcomes(self, batch: Sequence[Record], answer: Any) -> list[Outcome | None]:
        """The outcome of each record; None where an error says that one of these was refused, but not which.

        :raises LookupError: the answer is not as declared.
        """
        reply = self._reply
        if reply.results is None and reply.errors is None:
            return [DELIVERED] * len(batch)
        places = {record.key: place for place, record in enumerate(batch)}
        said: list[Outcome | None] = [None] * len(batch)
        if reply.results is not None:
            self._results(said, places, _list(answer, reply.results))
        unnamed = self._beside(said, places, answer)
        if unnamed:
            return said
        rest = DELIVERED if reply.results is None else _NOT_MENTIONED
        return [outcome or rest for outcome in said]

    def _results(self, said: list[Outcome | None], places: dict[str, int], results: list[Any]) -> None:
        reply = self._reply
        if not reply.id and len(results) != len(said):
            raise LookupError(f"{len(results)} results for {len(said)} records")
        for number, result in enumerate(results):
            if not isinstance(result, dict):
                raise LookupError("a result is no object")
            place = _place(places, first(result, reply.id)) if reply.id else number
            if place is not None:
                said[place] = self._of_result(result)

    def _of_result(self, result: Any) -> Outcome:
        error = dig(result, self._reply.error) if self._reply.error is not None else None
        taken = self._reply.success is None or dig(result, self._reply.success) is True
        if error in (None, [], "") and taken:
            return DELIVERED
        return self.outcome(error or "refused without a reason")

    def _beside(self, said: list[Outcome | None], places: dict[str, int], answer: Any) -> bool:
        """Take in the errors that stand beside the results. Whether one does not say which record it means."""
        reply, unnamed = self._reply, False
        errors = dig(answer, reply.errors) if reply.errors is not None else None
        for error in errors or []:
            keys = first(error, reply.refers)
            named = [_place(places, key) for key in (keys if isinstance(keys, list) else [keys])]
            if reply.index is not None:
                named.append(dig(error, reply.index))
            meant = [place for place in named if isinstance(place, int) and place < len(said)]
            for place in meant:
                said[place] = self.outcome(error)
            unnamed = unnamed or not meant
        return unnamed

    def outcome(self, error: Any) -> Outcome:
        """What one error, a text or an object with code and message, says about the record that it is about."""
        code, text = self._code_and_text(error)
        if code in self._errors.passing:
            return Outcome("retryable", code)
        return Outcome("rejected", text[:_REASON_CHARACTERS])

    def refusal(self, status: int, body: bytes) -> tuple[str, str]:
        """Code and text of an answer that refuses a request as a whole."""
        try:
            code, text = self._code_and_text(orjson.loads(body))
        except orjson.JSONDecodeError:
            code, text = "", body.decode("utf-8", "replace")
        return code, f"HTTP {status}: {text}"[:_REASON_CHARACTERS]

    def unnamed(self, status: int, answer: Any) -> str:
        """What an answer says about records that it does not name."""
        errors = dig(answer, self._reply.errors) if self._reply.errors is not None else None
        return f"HTTP {status}: {self._code_and_text(errors)[1]}"[:_REASON_CHARACTERS] if errors else ""

    def wanted(self) -> str:
        """What an answer has to look like."""
        reply = self._reply
        parts = [
            f"{name} {path!r}" if path else f"{name} as the answer itself"
            for name, path in (("results", reply.results), ("errors", reply.errors))
            if path is not None
        ]
        return f"JSON with {' and '.join(parts)}" if parts else "any answer"

    def passes(self, code: str) -> bool:
        return code in self._errors.passing

    def _code_and_text(self, error: Any) -> tuple[str, str]:
        one = error[0] if isinstance(error, list) and error else error
        if isinstance(one, str):
            return "", one
        code, message = as_text(first(one, self._errors.code)), as_text(first(one, self._errors.message))
        text = f"{code}: {message}" if code and message else code or message
        return code, text or orjson.dumps(error).decode()


_NOT_MENTIONED = Outcome("retryable", "the answer does not mention the record")


def dig(value: Any, path: str) -> Any:
    """What stands at a path of names with dots between; None when it is not there."""
    for name in path.split(".") if path else ():
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def first(value: Any, paths: Sequence[str]) -> Any:
    """What stands at the first path that leads to something."""
    return next((one for path in paths if (one := dig(value, path)) is not None), None)


def as_text(value: Any) -> str:
    """A value as a key, a code or a part of a path: nothing is an empty text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _place(places: dict[str, int], key: Any) -> int | None:
    return None if key is None else places.get(as_text(key))


def _list(answer: Any, path: str) -> list[Any]:
    found = dig(answer, path)
    if not isinstance(found, list):
        raise LookupError(f"no list at {path!r}" if path else "no list")
    return found
