"""Which cases of a list run every day: the others say the same in more ways, and come with `make test-long`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def cases(every: Iterable[str], daily: Collection[str]) -> list[Any]:
    """All of them, for `pytest.mark.parametrize`; those that are not for every day are marked `long`."""
    return [pytest.param(one, marks=() if one in daily else pytest.mark.long) for one in every]
