"""Errors of a server, which may quote a value, without its own words where values are protected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from include.core.contracts.source import Stream
from include.core.errors import MillraceError


@contextmanager
def concealed(stream: Stream, where: str) -> Iterator[None]:
    """Around reading a stream: an error of ours that repeats a driver's loses its words and its cause, and keeps its kind,
    where the stream has protected columns. A server quotes values (`invalid input syntax for type integer: "…"`)."""
    try:
        yield
    except MillraceError as error:
        cause = error.__cause__
        if cause is None or not stream.protected:
            raise
        state = getattr(cause, "sqlstate", None)
        raise type(error)(
            "reading failed; the server's words are not shown, because they may quote a protected value",
            where=where,
            received=type(cause).__name__ + (f", SQLSTATE {state}" if state else ""),
            allowed=error.allowed,
            todo=f"{error.todo}; the server's own log says more",
        ) from None
