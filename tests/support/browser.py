"""The web UI in a real browser: a headless Chromium, logged in to a running stack."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.stack import Stack

#: What a Chromium is called, by distribution.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # with a sandbox it refuses to run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Milliseconds for a page or an element to appear, and for a run to end: on a machine that does other things too.
_APPEARS = 60_000
RUN_ENDS = 600_000


def chromium() -> str | None:
    """The path of the Chromium on this machine, or else of the one that `playwright install chromium` left; or None."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    return found or _playwrights()


def _playwrights() -> str | None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """A running browser."""
    expect.set_options(timeout=_APPEARS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield started
        finally:
            started.close()


def visitor(started: Browser, stack: Stack) -> BrowserContext:
    """A window of its own, in which nobody has logged in. Waits for what it is asked for."""
    context = started.new_context(
        base_url=stack.url, locale="en-US", timezone_id="UTC", viewport={"width": 1500, "height": 1000}
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(_APPEARS)
    return context


def log_in(page: Page, password: str) -> None:
    """Log in as `admin`, from whatever page asks for it."""
    page.goto("/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
