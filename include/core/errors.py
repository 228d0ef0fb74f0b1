"""Errors, of three kinds, because a scheduler can do three things about one.

MillraceError
├── TerminalError         retrying cannot help: a person has to change something
│   ├── ContractError         a contract file says something that is not allowed
│   ├── SchemaChanged         the source no longer has the shape its contract declares
│   ├── TypeNotExact          a value cannot be carried without changing it
│   ├── SourceForbidden       the reading role lacks a right that completeness depends on
│   ├── StaleLoad             another load has taken this one's place
│   ├── GateFailed            an audit found what must not be published
│   ├── BreakerTripped        more would be deleted or changed than the contract allows
│   └── BooksDoNotBalance     rows counted at two places differ
└── TransientError        the same call may succeed later
    ├── Unreachable           a database, store or API does not answer
    ├── LeaseHeld             another run is loading this source
    └── NotLanded             a part or manifest is missing or damaged

The third kind, a rejected record, is not an exception: it is an outcome that is kept with its reason while the rest goes on.

Every message says what happened, where, what was received, what is allowed and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable


class MillraceError(Exception):
    """Base of all errors that Millrace raises on purpose.

    :param causes: what is wrong, each thing in words that stay the same from run to run, where `what` and `where` do not
        tell one such error from another.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        received: object = None,
        allowed: object = None,
        todo: str = "",
        causes: Iterable[str] = (),
    ) -> None:
        self.causes = tuple(causes)
        self.what, self.where, self.received, self.allowed, self.todo = what, where, received, allowed, todo
        lines = [f"{where}: {what}" if where else what]
        if received is not None:
            lines.append(f"  received: {received}")
        if allowed is not None:
            lines.append(f"  allowed:  {allowed}")
        if todo:
            lines.append(f"  what to do: {todo}")
        super().__init__("\n".join(lines))


class TerminalError(MillraceError):
    """Retrying cannot help."""


class ContractError(TerminalError):
    """A contract file says something that is not allowed."""


class SchemaChanged(TerminalError):
    """The source no longer has the shape its contract declares."""


class TypeNotExact(TerminalError):
    """A value cannot be carried without changing it."""


class SourceForbidden(TerminalError):
    """The reading role lacks a right that completeness depends on."""


class StaleLoad(TerminalError):
    """Another load has taken this one's place; nothing was written."""


class GateFailed(TerminalError):
    """An audit found what must not be published."""


class BreakerTripped(TerminalError):
    """More would be deleted or changed than the contract allows."""


class BooksDoNotBalance(TerminalError):
    """Rows counted at two places differ."""


class TransientError(MillraceError):
    """The same call may succeed later."""


class Unreachable(TransientError):
    """A database, store or API does not answer."""


class LeaseHeld(TransientError):
    """Another run is loading this source."""


class NotLanded(TransientError):
    """A part or manifest is missing or damaged."""
