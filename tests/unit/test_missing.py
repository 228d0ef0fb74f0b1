"""A test that is skipped in CI is one that nobody misses: what a machine lacks is an error there, or said openly."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.support.browser import chromium
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


def test_a_chromium_that_playwright_installed_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert chromium() is None
    with sync_playwright() as playwright:
        place = Path(playwright.chromium.executable_path)
    place.parent.mkdir(parents=True)
    place.touch()
    assert chromium() == str(place)
