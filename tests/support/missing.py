"""What a machine may lack: the tests that need it are skipped there, and say so, unless it is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

#: What may be named in TESTS_REQUIRE, with commas between: a machine that lacks it then fails instead of skipping.
OPTIONAL = ("chinook", "chromium", "mariadb")


def left_out(what: str, why: str) -> NoReturn:
    """Skip the test; fail it where TESTS_REQUIRE names what is missing: on a build machine nobody reads what was skipped."""
    assert what in OPTIONAL
    if what in os.environ.get("TESTS_REQUIRE", "").split(","):
        pytest.fail(f"{why}, and TESTS_REQUIRE names {what}")
    pytest.skip(why)
