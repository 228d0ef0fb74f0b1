"""How old a snapshot may become: while it is held, the source cannot clean up."""

from __future__ import annotations

import time
from datetime import timedelta

from include.core.errors import TerminalError
from include.core.interval import show_duration


class Age:
    """Of a snapshot that is taken now."""

    def __init__(self, longest: timedelta) -> None:
        self._longest = longest
        self._until = time.monotonic() + longest.total_seconds()

    @property
    def milliseconds(self) -> int:
        """How old it may become."""
        return int(self._longest.total_seconds() * 1000)

    def check(self, where: str) -> None:
        """Nothing while it may be held.

        :raises TerminalError: it is as old as the contract allows.
        """
        if time.monotonic() > self._until:
            raise TerminalError(
                "the snapshot is as old as it may become, and not all was read; nothing has landed",
                where=where,
                received=f"a snapshot held for {show_duration(self._longest)}",
                allowed=f"longest_snapshot: {show_duration(self._longest)}, while which the source cannot clean up",
                todo="read in increments where a table has a cursor, or from more connections where that helps; or agree"
                " with the source's owner on a longer one",
            )
