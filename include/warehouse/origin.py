"""Where raw came from: a load goes on from the ones before it only when it continues the same history of the same server."""

from __future__ import annotations

from collections.abc import Iterable

from include.core.errors import TerminalError
from include.warehouse.ledger import Watermark


def check_origin(
    known: dict[str, Watermark], streams: Iterable[str], source: str, server: str, position: tuple[int, ...]
) -> None:
    """Refuse a snapshot that does not follow the ones that raw was loaded from. A full refresh needs no such check.

    :param known: the watermark of each stream. :param streams: those that are to be loaded.
    :param position: of the snapshot, see `Manifest`.
    :raises TerminalError: it is of another server, or of an earlier moment of the same one.
    """
    marks = [known[stream] for stream in streams if stream in known]
    other = sorted({mark.server for mark in marks} - {server})
    if other:
        raise TerminalError(
            "the connection now leads to another server than the one that raw was loaded from",
            where=f"source {source!r}",
            received=server,
            allowed=other,
            todo="correct the connection; or, if the source has moved, start the DAG with full_refresh",
        )
    # A backup that was put back keeps the server's name but starts its count of transactions where it was taken.
    latest = max((tuple(mark.position) for mark in marks), default=position)
    if position < latest:
        raise TerminalError(
            "the source has gone back in time: raw was loaded from a later state of it",
            where=f"source {source!r}",
            received=f"position {list(position)}",
            allowed=f"position {list(latest)} or later",
            todo="if a backup was restored there, start the DAG with full_refresh; if the connection leads to a"
            " copy that lags behind, point it at the primary",
        )
