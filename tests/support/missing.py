"""What a machine may lack: there the tests that need it are left out, but never in CI without a word."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

#: What may be named in TESTS_WITHOUT, with commas between: CI then leaves its tests out, for everybody to see.
OPTIONAL = ("chinook", "chromium")


def left_out(what: str, why: str) -> NoReturn:
    """Skip the test. Where CI is set nobody reads what was skipped: there it fails, unless TESTS_WITHOUT names it."""
    assert what in OPTIONAL
    if os.environ.get("CI") and what not in os.environ.get("TESTS_WITHOUT", "").split(","):
        pytest.fail(f"{why}. In CI this is no reason to skip, unless the workflow says TESTS_WITHOUT={what}")
    pytest.skip(why)
