"""Data Docs in the real UI: the link at the task, the page behind it, and the docs of the models."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import Demo
from tests.support.browser import PROGRAMS, browser, chromium, log_in, visitor
from tests.support.lifecycle import Lifecycle, Run
from tests.support.missing import left_out
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        left_out("chromium", f"no Chromium on PATH ({', '.join(PROGRAMS)}), and none of Playwright's")
    with browser(path) as started:
        yield started


@pytest.fixture(scope="module")
def page(chrome: Browser, running_stack: Stack) -> Iterator[Page]:
    """A window of somebody who has logged in, which reaches the stack and nothing else."""
    context = visitor(chrome, running_stack)

    def only_the_stack(route: Route) -> None:
        if route.request.url.startswith((running_stack.url, "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    context.route("**/*", only_the_stack)
    page = context.new_page()
    log_in(page, running_stack.admin_password)
    expect(page.get_by_role("link", name="Dags", exact=True)).to_be_visible()
    yield page
    context.close()


@pytest.fixture(scope="module")
def rejected(lifecycle: Lifecycle, depot: str) -> Iterator[Run]:
    """A run whose batch of items broke a rule."""
    lifecycle.at("depot", "update depot.items set price = -1, updated_at = now() where item_id = 7")
    try:
        yield lifecycle.done(f"ingest__{depot}", streams=["items"])
    finally:
        lifecycle.at("depot", "update depot.items set price = 7, updated_at = now() where item_id = 7")


def test_an_audit_leads_to_the_page_that_says_what_failed(page: Page, rejected: Run) -> None:
    assert rejected.state == "failed"
    page.goto(f"/dags/{rejected.dag_id}/runs/{quote(rejected.run_id)}/tasks/audit/mapped/0/details")
    link = page.get_by_role("link", name="Data Docs", exact=True)
    expect(link).to_be_visible()
    page.goto(str(link.get_attribute("href")))
    expect(page.get_by_role("heading", name="raw_depot.items")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="price is between")
    expect(row).to_contain_text("critical")
    expect(row).to_contain_text("1 of")
    expect(row).to_contain_text("item_id 7")
    expect(page.get_by_role("row").filter(has_text="name is not null")).to_contain_text("holds")
    # its own style is there, and was allowed
    assert page.evaluate("getComputedStyle(document.querySelector('section')).borderRadius") == "8px"
    page.get_by_role("link", name="The run", exact=True).click()
    expect(page.get_by_test_id("header-card").get_by_test_id("state-badge").first).to_have_text("Failed")


def test_only_who_may_read_the_dag_sees_its_pages(lifecycle: Lifecycle, rejected: Run) -> None:
    path = f"/data-docs/{rejected.dag_id}/runs/{quote(rejected.run_id, safe='')}"
    with httpx.Client(base_url=lifecycle.stack.url) as stranger:
        answer = stranger.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/api/v2/auth/login?next=")
        assert "item_id" not in answer.text
        assert stranger.get(f"/data-docs/{rejected.dag_id}/models").status_code == 303
        assert stranger.get(path, headers={"Authorization": "Bearer nonsense"}).status_code in (303, 403)
        for inside in ("docs", "openapi.json", "redoc"):
            assert stranger.get(f"/data-docs/{inside}").status_code in (303, 404)


def test_a_gate_leads_to_its_table_and_a_publication_to_the_models(
    page: Page, lifecycle: Lifecycle, first_demo: Demo
) -> None:
    runs = lifecycle.api.call("GET", "/api/v2/dags/transform__shop/dagRuns?state=success&order_by=-run_after")
    run = Run("transform__shop", runs["dag_runs"][0]["dag_run_id"])
    judged = lifecycle.task(run, "gate", "marts.fct_monthly_revenue")
    page.goto(f"/dags/{run.dag_id}/runs/{quote(run.run_id)}/tasks/gate/mapped/{judged['map_index']}/details")
    link = page.get_by_role("link", name="Data Docs", exact=True)
    assert str(link.get_attribute("href")).endswith("#marts.fct_monthly_revenue")
    page.goto(str(link.get_attribute("href")))
    expect(page.get_by_role("row").filter(has_text="no month was closed before it was over")).to_contain_text(
        "holds"
    )

    assert lifecycle.done("maintain").state == "success"
    page.goto(f"/dags/{run.dag_id}/runs/{quote(run.run_id)}/tasks/publish/details")
    page.goto(str(page.get_by_role("link", name="Models", exact=True).get_attribute("href")))
    page.goto(f"{page.url.partition('#')[0]}#!/model/model.shop.fct_monthly_revenue")
    expect(page.get_by_text("One row per closed month (UTC)").first).to_be_visible()
    expect(page.get_by_text("late_revenue_eur", exact=True).first).to_be_visible()
    expect(page.get_by_text("marts_candidate")).to_have_count(0)
