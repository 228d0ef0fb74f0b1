"""Fixtures of the tests that need services but no Airflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.pipeline import Pipeline, build
from tests.support.stack import S3Store


@pytest.fixture
def pipeline(database: Callable[..., str], s3_store: S3Store) -> Pipeline:
    """A fresh source database and warehouse."""
    return build(database("source"), database("warehouse"), s3_store)
