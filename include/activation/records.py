"""What travels between the plan, the delivery and a destination."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Record:
    """One planned record.

    `body` is the mapped record as a JSON object, rendered by the warehouse: times in ISO 8601 with their
    zone, `numeric` and `bigint` as strings, because most readers of JSON make a double of a number.
    `fingerprint` is the SHA-256 of it. `action`: create when the destination never acknowledged the record, else
    update; of a delete, `body` has no more than the key.
    """

    key: str
    fingerprint: bytes
    body: str = field(repr=False)
    action: Literal["create", "update", "delete"] = "update"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the destination said about one record, in the order in which the records were given.

    - delivered: it holds the record now, or holds it no longer when that was asked.
    - rejected: it refuses this record as it is; `reason` says why. Sending it again at once cannot help.
    - retryable: nobody knows, or it asks to come back (after `retry_after` seconds, when it named a time).
    """

    kind: Literal["delivered", "rejected", "retryable"]
    reason: str = ""
    retry_after: float | None = None


DELIVERED = Outcome("delivered")


@dataclass(frozen=True, slots=True)
class Difference:
    """How what the destination holds differs from a record: in these fields, or in that it is not there.

    Neither: it holds the record as it is.
    """

    fields: tuple[str, ...] = ()
    missing: bool = False

    def __bool__(self) -> bool:
        return self.missing or bool(self.fields)
