"""What a JSON API looks like: where records stand in a request, and where its word about them stands in an answer.

A declaration is a YAML file in `include/activation/destinations/apis/`, named in a contract as `api: NAME`, or stands
in the contract itself. Its templates are JSON in which a text such as `"{key}"` stands for a value:

    {records}    the records of the request, each by `record`
    {record}     the mapped fields of one, as an object; after the name `...` they stand among their neighbours
    {key} {id}   its key; the destination's own id of it, which `read` finds
    {key_field} {fields}   the name of the key's field; the list of all mapped fields
    {name}       a parameter of the declaration; in a path also a mapped field

A path that speaks of one record ({key}, {id}, a mapped field) means one request a record.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from include.core.contracts.common import Count, Model, Text
from include.core.errors import ContractError

APIS = Path(__file__).resolve().parents[2] / "activation" / "destinations" / "apis"
#: What stands in braces without being a parameter or a mapped field.
RESERVED = frozenset({"records", "record", "key", "id", "key_field", "fields", "next"})
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_PATHS = " Names with dots between; of several the first that is there."


class Request(Model):
    """One kind of request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="POST", description="The HTTP method."
    )
    path: Text = Field(pattern=r"^(/|\{path\})", description="Below the connection's address.")
    body: Any = Field(default=None, description="Template of the body; none: no body.")
    record: Any = Field(default=None, description="Template of one record in it.")
    max_batch: Count = Field(default=1000, ge=1, description="How many records the API takes in one request.")


class Reply(Model):
    """Where the word about each record stands. Without `results` and `errors` the status speaks for all of them."""

    results: str | None = Field(
        default=None, description="Where the list of results stands; empty: it is the answer itself."
    )
    id: tuple[str, ...] = Field(
        default=(),
        description="In a result: the record's key. None: results come in the records' order." + _PATHS,
    )
    success: str | None = Field(default=None, description="In a result: what is true when it was taken.")
    error: str | None = Field(default=None, description="In a result: the error, when it was refused.")
    errors: str | None = Field(default=None, description="Where a list of errors stands beside the results.")
    refers: tuple[str, ...] = Field(
        default=(),
        description="In such an error: the key, or the list of keys, of the records it is about." + _PATHS,
    )
    index: str | None = Field(
        default=None, description="In such an error: the record's place in the request, from 0."
    )


class Action(Request):
    """How records are written or deleted."""

    reply: Reply = Field(default=Reply(), description="What the answer says about each record.")


class Read(Request):
    """How records are read back: by their keys, or, without them in path and body, as a list, page by page."""

    found: str = Field(
        default="results", description="Where the records stand in the answer; empty: it is one record."
    )
    key: tuple[str, ...] = Field(description="In a record: its key." + _PATHS)
    id: str | None = Field(
        default=None, description="In a record: the destination's own id, for a delete that says {id}."
    )
    properties: str = Field(
        default="", description="In a record: where the fields stand; empty: in it itself."
    )
    next: str | None = Field(
        default=None, description="In a page of a list: what {next} in the path of the next one is."
    )


class Errors(Model):
    """What an error says, about a record or about a request."""

    code: tuple[str, ...] = Field(default=("code",), description="Its code." + _PATHS)
    message: tuple[str, ...] = Field(default=("message",), description="Its text." + _PATHS)
    passing: tuple[str, ...] = Field(
        default=(), description="Codes that pass by themselves, such as a locked row: sent again."
    )


class Statuses(Model):
    """What a status means. Any 5xx asks for patience; any other 4xx blames the data: the batch is halved."""

    answered: tuple[int, ...] = Field(
        default=(200, 201, 204, 207), description="The answer speaks about the records."
    )
    patience: tuple[int, ...] = Field(default=(408, 425, 429), description="Later, please.")
    refused: tuple[int, ...] = Field(
        default=(401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 431, 451),
        description="The request is wrong, whatever its records.",
    )
    absent: tuple[int, ...] = Field(
        default=(),
        description="In a request about one record: there is no such record, so that its delete is done.",
    )


class HttpShape(Model):
    """What an API looks like."""

    description: str = Field(default="", description="Which API, and where it is published.")
    parameters: dict[str, str | None] = Field(
        default={}, description="What a contract may set, with its default; none: it has to."
    )
    upsert: Action = Field(description="Creates and updates.")
    delete: Action | None = Field(default=None, description="Deletes; none: it cannot.")
    read: Read | None = Field(default=None, description="Reads back; none: it cannot.")
    errors: Errors = Field(default=Errors(), description="What an error says.")
    statuses: Statuses = Field(default=Statuses(), description="What a status means.")
    nulls: Literal["null", "empty", "omit"] = Field(
        default="null", description="How it is told that a field has no value: null, an empty text, or not."
    )
    idempotency_header: str | None = Field(
        default=None, description="A header that tells the API that a request is the same one again."
    )

    def unknown(self, fields: frozenset[str]) -> list[str]:
        """Placeholders that nothing fills, when `fields` are mapped."""
        known = RESERVED | set(self.parameters)
        found = []
        for request in (self.upsert, self.delete, self.read):
            if request is not None:
                found += [name for name in placeholders(request.path) if name not in known | fields]
                found += [name for name in placeholders((request.body, request.record)) if name not in known]
        return sorted(set(found))


def placeholders(template: Any) -> set[str]:
    """The names that stand in braces in a template or a path."""
    if isinstance(template, str):
        return set(_PLACEHOLDER.findall(template))
    parts: Any = template.values() if isinstance(template, dict) else template
    return (
        set().union(*map(placeholders, parts))
        if isinstance(template, dict | list | tuple) and parts
        else set()
    )


def fill(text: str, values: dict[str, str]) -> str:
    """The text with the names in braces replaced that `values` has."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


@cache
def declared(name: str) -> HttpShape:
    """The declaration of this name.

    :raises ContractError: there is none, or it is faulty.
    """
    from include.core.contracts.document import read_document
    from include.core.contracts.faults import FaultyContract, faults_of

    there = sorted(path.stem for path in APIS.glob("*.yaml"))
    if name not in there:
        raise ContractError("there is no such API declaration", received=name, allowed=", ".join(there))
    document = read_document(APIS / f"{name}.yaml")
    try:
        return HttpShape.model_validate(document.data)
    except ValidationError as error:
        raise FaultyContract(faults_of(HttpShape, document, error)) from None
