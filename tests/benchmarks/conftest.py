"""Fixtures of the benchmarks: the same real services as the integration tests."""

from __future__ import annotations

from tests.integration.conftest import pipeline

__all__ = ["pipeline"]
