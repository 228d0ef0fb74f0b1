"""Fixtures that every kind of test may use. Services start when the first test asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from include.stack.home import PROJECT_ROOT, Home
from tests.support import own_sources, stack

_KINDS = {"dags": "dags", "dbt": "dbt", "integration": "integration", "e2e": "e2e", "benchmarks": "bench"}


#: Folders whose tests share what is slow to make, so that one process runs them all.
_TOGETHER = ("dags", "dbt", "e2e")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test by its folder: the marker says how much it needs.

    The fast ones come first; but where several processes share the work, one of them begins with the end-to-end tests,
    which take as long as all others together.
    """
    order = ["unit", *_KINDS.values()]
    if hasattr(config, "workerinput"):
        order.insert(0, order.pop(order.index("e2e")))
    kinds = {}
    for item in items:
        folder = item.path.relative_to(PROJECT_ROOT / "tests").parts[0]
        kind = kinds[item] = _KINDS.get(folder, "unit")
        item.add_marker(kind)
    items.sort(key=lambda item: order.index(kinds[item]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What shares the work: a file, or all files of a folder whose tests share what is slow to make."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.split("/")[1]
            return folder if folder in _TOGETHER else file

    return ByFolder(config, log)


@pytest.fixture(scope="session", autouse=True)
def nothing_of_yours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Before any other: no test works on a system of whoever runs it."""
    with stack.nothing_of_yours(tmp_path_factory.mktemp("shell") / "env"):
        yield


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    """Postgres and S3 for the whole test run."""
    with stack.started(Home(tmp_path_factory.mktemp("storage")), "throw-away") as services:
        yield services


@pytest.fixture(scope="session")
def postgres_server(storage: stack.Stack) -> stack.PostgresServer:
    """A real Postgres 18 for the whole test run."""
    return storage.postgres


@pytest.fixture
def database(postgres_server: stack.PostgresServer) -> Iterator[Callable[..., str]]:
    """`database()` gives a superuser's connection URI to a fresh database, dropped after the test; see
    `PostgresServer.database`."""
    with ExitStack() as databases:
        yield lambda *names: databases.enter_context(postgres_server.database(*names))


@pytest.fixture(scope="session")
def s3_store(storage: stack.Stack) -> stack.S3Store:
    """A real S3 server with the bucket `landing` for the whole test run."""
    return storage.store


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    """The whole stack with Airflow, in a state directory of its own, for the whole test run.

    Its contracts are a copy: tests may add and change them.
    """
    home = Home(tmp_path_factory.mktemp("stack"))
    variables = own_sources.variables(home, tmp_path_factory.mktemp("contracts") / "contracts")
    with stack.started(home, variables=variables) as services:
        yield services
