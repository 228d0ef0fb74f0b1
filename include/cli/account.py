"""Who sits at the terminal, for what the ledger notes of them."""

from __future__ import annotations


def account() -> str:
    """The name of the account, or its number."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return f"uid {os.getuid()}"
