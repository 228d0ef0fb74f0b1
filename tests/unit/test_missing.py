"""A test that is skipped on a build machine is one that nobody misses: what it must have can be required."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.support.browser import chromium
from tests.support.missing import left_out


@pytest.mark.parametrize(
    ("required", "outcome"),
    [
        ("", pytest.skip.Exception),
        ("chromium", pytest.skip.Exception),
        ("chinook", pytest.fail.Exception),
        ("chromium,chinook", pytest.fail.Exception),
    ],
)
def test_what_is_missing_is_skipped_unless_it_is_required(
    monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("TESTS_REQUIRE", required)
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
