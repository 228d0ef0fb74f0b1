"""A source is left alone when its contract or a person says so, and read as soon as it may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support.lifecycle import Lifecycle, Run, until

POOL = "/api/v2/pools/source_depot"
DETAILS = "/api/v2/dags/ingest__depot/details"


@pytest.fixture
def contract_file(depot: str, lifecycle: Lifecycle) -> Iterator[Path]:
    """The depot's contract, which is as it was after the test."""
    file = lifecycle.contracts / "sources" / f"{depot}.yaml"
    before = file.read_text()
    yield file
    file.write_text(before)


def _leave_alone(file: Path, hours_from_now: int) -> None:
    """Quiet hours of two hours, around that moment."""
    middle = datetime.now(timezone.utc) + timedelta(hours=hours_from_now)
    start, end = (f"{middle + timedelta(hours=shift):%H:%M}" for shift in (-1, 1))
    rest = re.sub(r"^impact:.*\n", "", file.read_text(), flags=re.MULTILINE)
    file.write_text(rest.replace("streams:\n", f'impact: {{quiet_hours: ["{start}-{end}"]}}\nstreams:\n', 1))


def _waits(lifecycle: Lifecycle, run: Run, task: str, state: str) -> None:
    until(lambda: lifecycle.task(run, task)["state"] == state, f"{task} of {run} to be {state}")


def _pool(lifecycle: Lifecycle, slots: int | None = None) -> int:
    """Its slots, after they were set as a person sets them in the UI."""
    if slots is not None:
        chosen = {"pool": "source_depot", "slots": slots, "include_deferred": False}
        lifecycle.api.call("PATCH", f"{POOL}?update_mask=slots", json=chosen)
    found: dict[str, Any] = lifecycle.api.call("GET", POOL)
    return int(found["slots"])


def test_nothing_is_asked_of_a_source_in_its_quiet_hours(contract_file: Path, lifecycle: Lifecycle) -> None:
    assert lifecycle.done("ingest__depot").state == "success"
    _leave_alone(contract_file, 0)
    until(lambda: "in_quiet_hours" in lifecycle.api.call("GET", DETAILS)["params"], "the new contract")

    at_once = lifecycle.done("ingest__depot", in_quiet_hours=True)  # a person knows better
    assert at_once.state == "success"
    run = lifecycle.trigger("ingest__depot")
    _waits(lifecycle, run, "wait_out_quiet_hours", "up_for_reschedule")
    assert "quiet hours: the source is left alone until " in lifecycle.log(run, "wait_out_quiet_hours")
    assert lifecycle.task(run, "wait_for_commit_horizon")["state"] is None
    _leave_alone(contract_file, 12)
    assert lifecycle.ended(run).state == "success"


def test_a_read_waits_for_connections_to_its_source(depot: str, lifecycle: Lifecycle) -> None:
    assert lifecycle.done("ingest__depot").state == "success"
    assert _pool(lifecycle) == lifecycle.contract(depot).impact.connections == 2

    assert _pool(lifecycle, 0) == 0  # hold everybody off
    run = lifecycle.trigger("ingest__depot")
    _waits(lifecycle, run, "extract", "scheduled")
    assert _pool(lifecycle, 4) == 4
    assert lifecycle.ended(run).state == "success"
    assert _pool(lifecycle) == 4  # what a person has chosen stays

    assert _pool(lifecycle, 1) == 1  # with this, no run could ever read
    assert lifecycle.done("ingest__depot").state == "success"
    assert _pool(lifecycle) == 2
