"""Fixtures that every kind of test may use. Services start when the first test asks for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from include.stack.home import PROJECT_ROOT, Home
from tests.support import stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder under tests/: the marker says how much it needs and how long it takes."""
    kinds = {"dags": "dags", "dbt": "dbt", "integration": "integration", "e2e": "e2e", "benchmarks": "bench"}
    for item in items:
        folder = item.path.relative_to(PROJECT_ROOT / "tests").parts[0]
        item.add_marker(kinds.get(folder, "unit"))


@pytest.fixture(scope="session")
def service_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A state directory for the services of this test run."""
    return Home(tmp_path_factory.mktemp("services"))


@pytest.fixture(scope="session")
def postgres_server(service_home: Home) -> Iterator[stack.PostgresServer]:
    """A real Postgres 18 for the whole test run."""
    with stack.postgres_server(service_home) as server:
        yield server


@pytest.fixture
def database(postgres_server: stack.PostgresServer) -> Iterator[Callable[..., str]]:
    """`database()` gives a superuser's connection URI to a fresh database, dropped after the test."""
    with ExitStack() as databases:
        yield lambda prefix="test": databases.enter_context(postgres_server.database(prefix))


@pytest.fixture(scope="session")
def s3_store(service_home: Home) -> Iterator[stack.S3Store]:
    """A real S3 server with the bucket `landing` for the whole test run."""
    with stack.s3_server(service_home) as store:
        yield store


@pytest.fixture
def landing_prefix() -> str:
    """A prefix of its own for each test in the shared bucket."""
    return f"test-{uuid.uuid4().hex[:12]}"
