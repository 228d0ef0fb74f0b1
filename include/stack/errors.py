"""Errors of the local stack; they are for the person at the terminal, so the message is all that counts."""

from __future__ import annotations

from include.core.errors import MillraceError


class StackError(MillraceError):
    """A local service cannot be set up, started, reached or stopped."""
