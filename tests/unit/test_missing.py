"""A test that is skipped in CI is one that nobody misses: what a machine lacks is an error there, or said openly."""

from __future__ import annotations

import pytest

from tests.support.missing import left_out


@pytest.mark.parametrize(
    ("ci", "without", "outcome"),
    [
        ("", "", pytest.skip.Exception),
        ("true", "", pytest.fail.Exception),
        ("true", "chromium", pytest.fail.Exception),
        ("true", "chinook", pytest.skip.Exception),
        ("true", "chromium,chinook", pytest.skip.Exception),
    ],
)
def test_what_is_missing_is_skipped_and_in_ci_an_error(
    monkeypatch: pytest.MonkeyPatch, ci: str, without: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("TESTS_WITHOUT", without)
    with pytest.raises(outcome, match="no script"):
        left_out("chinook", "no script")
