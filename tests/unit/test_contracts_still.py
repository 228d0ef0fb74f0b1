"""What of a contract with faults is still taken at its word: enough to fail at its time and to tell the right people."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.core.contracts.still import StillSaid, still_said

_HEAD = """\
source: shop
owner: {team: sales, contact: sales@example.org}
schedule: {cron: "30 3 * * *", timezone: Europe/Berlin, start: 2026-01-01}
alerts: {on_failure: [pager]}
"""


def _said(tmp_path: Path, text: str) -> StillSaid:
    file = tmp_path / "shop.yaml"
    file.write_text(text, encoding="utf-8")
    return still_said(file)


@pytest.mark.parametrize(
    "rest",
    [
        "nonsense: true",
        "source: shop",
        "streams:\n\t- name: orders",
        "streams: [",
        "description: 'never closed",
        "? [a, b]\n: c",
        "deadline: {after_queueing: soon}",
    ],
)
def test_a_fault_elsewhere_changes_neither_time_nor_owner_nor_channels(tmp_path: Path, rest: str) -> None:
    for text in (f"{_HEAD}{rest}\n", f"{rest}\n{_HEAD}"):
        said = _said(tmp_path, text)
        assert (said.schedule.cron, said.schedule.timezone) == ("30 3 * * *", "Europe/Berlin")
        assert (said.owner.team, said.owner.contact) == ("sales", "sales@example.org")
        assert said.alerts.on_failure == ("pager",)


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("30 3 * * *", "30 3 * *", ("0 * * * *", "Europe/Berlin", "sales", ("pager",))),
        ("Europe/Berlin", "Berlin", ("30 3 * * *", "UTC", "sales", ("pager",))),
        ("2026-01-01", "soon", ("30 3 * * *", "Europe/Berlin", "sales", ("pager",))),
        ("team: sales", "taem: sales", ("30 3 * * *", "Europe/Berlin", "unknown", ("pager",))),
        ("[pager]", "pager", ("30 3 * * *", "Europe/Berlin", "sales", ("alerts",))),
        ("[pager]", "[]", ("30 3 * * *", "Europe/Berlin", "sales", ())),
    ],
)
def test_what_is_wrong_itself_gets_a_default(
    tmp_path: Path, right: str, wrong: str, expected: tuple[object, ...]
) -> None:
    said = _said(tmp_path, _HEAD.replace(right, wrong))
    found = (said.schedule.cron, said.schedule.timezone, said.owner.team, said.alerts.on_failure)
    assert found == expected


@pytest.mark.parametrize("text", ["", "\t{", "just words", "- a\n- list"])
def test_of_a_file_that_is_no_mapping_all_is_default(tmp_path: Path, text: str) -> None:
    assert _said(tmp_path, text) == StillSaid() == still_said(tmp_path / "none.yaml")
