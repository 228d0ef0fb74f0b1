"""What the end-to-end tests share: one stack, filled by one first `millrace demo`, and one small source of their own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import pytest

from tests.support.lifecycle import Lifecycle
from tests.support.own_sources import create_depot
from tests.support.stack import Stack


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only a stack that has done nothing yet can show a first demo: its test comes before the others."""
    items.sort(key=lambda item: item.path.name != "test_lifecycle.py")


@dataclass(frozen=True)
class Demo:
    """What the first `millrace demo` said, and the alerts that were written until its end."""

    result: subprocess.CompletedProcess[str]
    alerts: list[str]


@pytest.fixture(scope="session")
def lifecycle(running_stack: Stack) -> Lifecycle:
    """The stack, and the questions that one asks it."""
    return Lifecycle(running_stack)


@pytest.fixture(scope="session")
def first_demo(lifecycle: Lifecycle) -> Demo:
    """The shop in raw, marts, CRM and contacts API."""
    result = lifecycle.stack.millrace("demo", timeout=600)
    return Demo(result, lifecycle.alerts())


@pytest.fixture(scope="session")
def depot(lifecycle: Lifecycle) -> str:
    """A small source that no transform waits for: `depot`."""
    create_depot(lifecycle.stack)
    return "depot"
