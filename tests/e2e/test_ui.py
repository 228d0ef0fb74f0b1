"""The web UI as people use it, driven in a real browser: find a DAG, read about it, run it, follow its data, backfill."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from include.core.contracts import SourceContract, SyncContract, TransformContract, load_all
from tests.support.browser import PROGRAMS, RUN_ENDS, browser, chromium, log_in, visitor
from tests.support.missing import left_out
from tests.support.stack import Stack

_INGEST = "ingest__shop"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        left_out("chromium", f"no Chromium on PATH ({', '.join(PROGRAMS)}), and none of Playwright's")
    with browser(path) as started:
        yield started


@pytest.fixture
def stranger(chrome: Browser, running_stack: Stack) -> Iterator[Page]:
    """A window in which nobody has logged in."""
    context = visitor(chrome, running_stack)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def logged_in(chrome: Browser, running_stack: Stack) -> Iterator[Page]:
    context = visitor(chrome, running_stack)
    page = context.new_page()
    log_in(page, running_stack.admin_password)
    expect(page.get_by_role("link", name="Dags", exact=True)).to_be_visible()
    yield page
    context.close()


@pytest.fixture
def page(logged_in: Page, tmp_path: Path) -> Iterator[Page]:
    """A window of somebody who has logged in; what it showed last is kept as a picture, for a test that failed."""
    yield logged_in
    logged_in.screenshot(path=tmp_path / "page.png")


def _trigger_form(page: Page, dag_id: str) -> Locator:
    page.goto(f"/dags/{dag_id}")
    page.get_by_test_id("trigger-dag-button").click()
    return page.get_by_role("dialog")


def _choose(form: Locator, *streams: str) -> None:
    for stream in streams:
        form.get_by_role("combobox").fill(stream)
        form.get_by_role("option", name=stream, exact=True).click()


def _succeeds(page: Page, dag_id: str, run_id: str) -> None:
    """Watch a run on its page, which keeps itself up to date, until it ends."""
    page.goto(f"/dags/{dag_id}/runs/{run_id}")
    state = page.get_by_test_id("header-card").get_by_test_id("state-badge").first
    expect(state).to_have_text(re.compile("Success|Failed"), timeout=RUN_ENDS)
    expect(state).to_have_text("Success")


def _published(page: Page, run_id: str) -> dict[str, Any]:
    """What a run told those who wait for its asset. The page folds it up, but gives it to whoever copies it."""
    page.goto(f"/dags/{_INGEST}/runs/{run_id}/tasks/publish/asset_events")
    expect(page.get_by_role("link", name="raw_shop", exact=True)).to_be_visible()
    page.get_by_role("button", name="Copy to clipboard").click()
    event: dict[str, Any] = json.loads(page.evaluate("navigator.clipboard.readText()"))
    return event


def test_a_wrong_password_is_refused(stranger: Page) -> None:
    log_in(stranger, "not the password")
    expect(stranger.get_by_text("Invalid credentials")).to_be_visible()


def test_one_logs_in_and_sees_every_dag_with_its_tags(stranger: Page, running_stack: Stack) -> None:
    log_in(stranger, running_stack.admin_password)
    stranger.get_by_role("link", name="Dags", exact=True).click()
    folder = Path(running_stack.variables["MILLRACE_CONTRACTS"])
    for kind, contracts in (
        ("ingest", load_all(SourceContract, folder)),
        ("transform", load_all(TransformContract, folder)),
        ("activate", load_all(SyncContract, folder)),
    ):
        for contract in contracts:
            name = getattr(contract, {"ingest": "source", "transform": "transform", "activate": "sync"}[kind])
            card = stranger.get_by_test_id("dag-card").filter(
                has=stranger.get_by_role("link", name=f"{kind}__{name}", exact=True)
            )
            for tag in (kind, *contract.tags):
                expect(card.get_by_role("link", name=tag, exact=True)).to_be_visible()
    expect(stranger.get_by_text(re.compile("import error", re.IGNORECASE))).to_have_count(0)


def test_a_dag_names_its_owner_and_says_what_to_do_when_it_fails(page: Page) -> None:
    for dag_id, owner, step in (
        (_INGEST, "shop-backend", "wait_for_commit_horizon"),
        ("transform__shop", "data-team", "gate"),
        ("activate__crm_contacts", "data-team", "settle"),
    ):
        page.goto(f"/dags/{dag_id}")
        expect(page.get_by_test_id("header-card").get_by_role("link", name=owner, exact=True)).to_be_visible()
        page.get_by_role("button", name="Dag Docs").click()
        docs = page.get_by_role("dialog")
        expect(docs.get_by_role("heading", name="When it fails")).to_be_visible()
        expect(docs.get_by_role("heading", name="What it does")).to_be_visible()
        expect(docs.get_by_role("strong").filter(has_text=re.compile(f"^{step}$"))).to_be_visible()


def test_a_run_by_hand_from_the_form_to_what_it_published(page: Page) -> None:
    form = _trigger_form(page, _INGEST)
    expect(form.get_by_text("Only these streams")).to_be_visible()
    expect(form.get_by_text("Read everything again")).to_be_visible()
    _choose(form, "categories", "refunds")
    form.get_by_text("Full refresh", exact=True).click()
    form.get_by_role("button", name="Advanced Options").click()
    run_id = f"by_hand_{uuid.uuid4().hex[:8]}"
    form.get_by_label("Run ID").fill(run_id)
    form.get_by_test_id("trigger-dag-submit").click()
    expect(form).to_be_hidden()
    _succeeds(page, _INGEST, run_id)

    for step in ("stage", "audit"):
        page.goto(f"/dags/{_INGEST}/runs/{run_id}/tasks/{step}/mapped")
        for stream in ("categories", "refunds"):
            expect(page.get_by_role("link", name=stream, exact=True)).to_be_visible()

    event = _published(page, run_id)
    assert set(event["rows"]) == {"categories", "refunds"}
    assert event["manifest"]
    assert event["backfill"] is False


def test_the_assets_lead_from_what_is_loaded_to_what_is_published(page: Page) -> None:
    page.goto("/assets")
    for asset, group in (("raw_shop", "raw"), ("marts_shop", "marts")):
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=asset, exact=True))
        expect(row.get_by_role("cell", name=group, exact=True)).to_be_visible()


def test_a_backfill_from_the_form_succeeds(page: Page) -> None:
    hour = datetime.now(timezone.utc).replace(minute=0) - timedelta(days=2)
    form = _trigger_form(page, _INGEST)
    form.get_by_text("Backfill", exact=True).click()
    for bound in form.get_by_test_id("datetime-input").all():
        bound.click()
        page.get_by_placeholder("YYYY/MM/DD").fill(f"{hour:%Y/%m/%d}")
        page.get_by_placeholder("HH:mm").fill(f"{hour:%H:%M}")
        page.get_by_placeholder("HH:mm").press("Enter")
        page.keyboard.press("Escape")
        expect(page.get_by_placeholder("HH:mm")).to_be_hidden()
    form.get_by_text("All Runs", exact=True).click()
    expect(form.get_by_text("1 run will be triggered")).to_be_visible()
    form.get_by_role("button", name="Run Backfill").click()
    expect(form).to_be_hidden()
    # a run bears the end of its interval in its name
    run_id = f"backfill__{hour + timedelta(hours=1):%Y-%m-%dT%H:00:00}+00:00"
    _succeeds(page, _INGEST, run_id)
    expect(page.get_by_test_id("header-card").get_by_text("Backfill", exact=True)).to_be_visible()
    assert _published(page, run_id)["backfill"] is True


@pytest.mark.parametrize("dag_id", ["transform__shop", "activate__crm_contacts"])
def test_what_follows_from_assets_is_triggered_by_hand_and_not_backfilled(page: Page, dag_id: str) -> None:
    form = _trigger_form(page, dag_id)
    expect(form.get_by_test_id("trigger-dag-submit")).to_be_enabled()
    expect(form.get_by_role("radio", name="Backfill", exact=True)).to_be_disabled()
    if dag_id.startswith("activate"):
        expect(form.get_by_text("send nothing")).to_be_visible()
