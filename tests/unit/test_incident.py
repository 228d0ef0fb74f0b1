"""By what two failures are known to have one cause, and who is told of which."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from include.cli.tables import incidents_table, show
from include.core.contracts.check import all_files, check
from include.core.contracts.common import Alerts
from include.core.errors import GateFailed, MillraceError, Unreachable
from include.core.incident import Incident, causes_of, channels_for, severity_of
from include.quality.gate import Failure, Verdict, demand
from tests.unit.test_contracts_check import SOURCE, write


def _verdict(load: int, table: str, *rules: str, unexpected: int = 1, severity: str = "critical") -> Verdict:
    failures = [
        Failure(rule, severity, unexpected, 900 + load, ({"id": load},), str(load / 7)) for rule in rules
    ]
    return Verdict(f"staging_batches.rows_{load}_{table}", 5, tuple(failures))


def _gate(*verdicts: Verdict) -> MillraceError:
    with pytest.raises(GateFailed) as failed:
        demand(verdicts, "todo")
    return failed.value


def test_the_same_failure_in_a_later_run_has_the_same_cause() -> None:
    once = causes_of("audit", _gate(_verdict(12, "orders", "total is not null")), "scheduled__2026-01-01")
    again = causes_of(
        "audit", _gate(_verdict(345, "orders", "total is not null", unexpected=9)), "scheduled__2026-01-02"
    )
    assert once == again


def test_tables_that_fail_together_are_the_causes_of_each_alone() -> None:
    """Which tables share a task differs from run to run."""
    orders, items = _verdict(1, "orders", "a"), _verdict(1, "items", "b")
    together = causes_of("audit", _gate(orders, items), "r")
    assert set(together) == {*causes_of("audit", _gate(orders), "r"), *causes_of("audit", _gate(items), "r")}
    assert len(together) == 2


@pytest.mark.parametrize(
    "other",
    [
        ("audit", _verdict(1, "orders", "another rule")),
        ("audit", _verdict(1, "orders_2", "total is not null")),
        ("gate", _verdict(1, "orders", "total is not null")),
    ],
)
def test_another_table_rule_or_step_is_another_cause(other: tuple[str, Verdict]) -> None:
    one = causes_of("audit", _gate(_verdict(1, "orders", "total is not null")), "r")
    assert causes_of(other[0], _gate(other[1]), "r") != one


@pytest.mark.parametrize(
    ("one", "again"),
    [
        (Unreachable("port 5532 refused", where="load 3"), Unreachable("port 6001 refused", where="load 4")),
        (ValueError("no space for 17 rows\nand more"), ValueError("no space for 18 rows\nand other")),
        ("run1 was killed", "run2 was killed"),
        (None, ""),
    ],
)
def test_numbers_and_runs_make_no_other_cause(one: object, again: object) -> None:
    assert causes_of("stage", one, "run1") == causes_of("stage", again, "run2")
    assert causes_of("stage", one, "run1") != causes_of("publish", one, "run1")


def test_a_cause_is_never_too_long_to_be_a_key_and_still_tells_apart() -> None:
    long = [causes_of("extract", ValueError("x" * 9000 + end), "r")[0] for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 600


def test_each_event_has_its_channels_and_its_severity() -> None:
    told = Alerts(
        on_failure=("pager", "mail"), on_missed_deadline=("mail",), on_warning=("chat",), severity="critical"
    )
    assert channels_for("failure", told) == ("pager", "mail")
    assert channels_for("missed_deadline", told) == ("mail",)
    assert channels_for("warning", told) == ("chat",)
    assert severity_of("failure", told) == severity_of("missed_deadline", told) == "critical"
    assert severity_of("warning", told) == "warning"
    assert severity_of("failure", Alerts(severity="warning")) == "warning"
    assert told.channels == ("pager", "mail", "chat")


def test_a_window_holds_from_its_start_until_before_its_end() -> None:
    window = {"start": "2026-03-01T22:00+01:00", "until": "2026-03-01T22:00Z", "why": "upgrade"}
    alerts = Alerts.model_validate({"maintenance": [window]})
    times = ((20, 59), (21, 0), (21, 59), (22, 0))
    moments = [datetime(2026, 3, 1, hour, minute, tzinfo=timezone.utc) for hour, minute in times]
    assert [bool(alerts.in_maintenance(moment)) for moment in moments] == [False, True, True, False]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{start: 2026-03-01T22:00:00, until: 2026-03-02T00:00:00Z, why: x}", "maintenance[0].start"),
        ("{start: 2026-03-01, until: 2026-03-02T00:00:00Z, why: x}", "maintenance[0].start"),
        ("{start: 2026-03-02T00:00:00Z, until: 2026-03-01T00:00:00Z, why: x}", "maintenance[0].until"),
        ("{start: 2026-03-01T00:00:00Z, until: 2026-03-02T00:00:00Z}", "maintenance[0].why"),
        ("{start: 2026-03-01T00:00:00Z, until: 2026-03-02T00:00:00Z, why: x}", "is over"),
    ],
)
def test_the_check_names_what_is_wrong_with_a_window(tmp_path: Path, line: str, expected: str) -> None:
    write(tmp_path, "sources", "shop", f"{SOURCE}alerts:\n  maintenance:\n    - {line}\n")
    today = datetime(2026, 6, 1, tzinfo=timezone.utc).date()
    report = check(all_files(tmp_path), today=today, folder=tmp_path)
    found = [str(fault) for fault in (*report.faults, *report.warnings)]
    assert len(found) == 1 and expected in found[0], found


def test_the_check_knows_every_channel_that_a_contract_names(tmp_path: Path) -> None:
    alerts = "{on_failure: [a], on_missed_deadline: [b], on_warning: [c], consumers: [d], escalate: {after: 1h, to: [e]}}"
    write(tmp_path, "sources", "shop", f"{SOURCE}alerts: {alerts}\n")
    report = check(
        all_files(tmp_path),
        today=datetime.now(timezone.utc).date(),
        defined=lambda name: len(name) > 1,
        folder=tmp_path,
    )
    assert [fault.received for fault in report.warnings] == [repr(name) for name in "abcde"]


def test_a_list_of_incidents_says_which_task_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Its brackets are no markup."""
    at = datetime(2026, 3, 1, tzinfo=timezone.utc)
    title = "ingest__shop failed at audit[orders]"
    one = Incident(
        7, "ingest", "shop", "failure", False, "cause", "critical", title, "what", "run", "link", at, at, 1234,
        at, "[anna]", at, None, None, None, None,
    )  # fmt: skip
    show(incidents_table([one]))
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == ["7", "critical", *title.split(), "2026-03-01", "00:00", "UTC", "1,234", "[anna]"]
