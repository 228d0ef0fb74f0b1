"""Data Docs: the page of a run says what was asked and found, shows keys and no other values, and needs nothing else."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import GateFailed
from include.core.interval import Interval
from include.flows import data_docs
from tests.support.pipeline import Pipeline, contract

LINKS = {"The run": "/dags/ingest__store/runs/bad"}


@pytest.fixture
def store(shop: Pipeline) -> SourceContract:
    shop.at_source("alter table customers add column secret text; update customers set secret = 's' || id")
    return contract(
        "store",
        [
            {
                "name": "customers", "table": "public.customers", "primary_key": ["id"], "mode": "snapshot",
                "deletes": "snapshot",
                "columns": {
                    "id": {"type": "integer"},
                    "email": {"type": "text", "pattern": "^[^@]+@[^@]+$"},
                    "secret": {"type": "text", "pii": "name", "pattern": "^s[0-9]+$"},
                },
            }
        ],
    )  # fmt: skip


def _pull(shop: Pipeline, store: SourceContract, run_id: str) -> None:
    shop.pull(store, Interval(None, datetime.now(timezone.utc)), run_id)


def _page(shop: Pipeline, run_id: str, kind: str = "ingest", name: str = "store") -> str:
    page = data_docs.page(shop.connect, kind, name, run_id, LINKS)
    assert page
    return page


def test_a_page_shows_each_rule_and_of_what_fails_the_keys_alone(
    shop: Pipeline, store: SourceContract
) -> None:
    shop.at_source("update customers set email = 'no <address>', secret = 'Erika Mustermann' where id = 7")
    with pytest.raises(GateFailed):
        _pull(shop, store, "bad")
    page = _page(shop, "bad")
    assert "raw_store.customers" in page and "rejected" in page
    for rule in ("email matches", "secret matches", "primary key (id) is unique"):
        assert rule in page
    assert page.count("1 of 50 rows") == 2
    assert page.count("<div>id 7</div>") == 2
    # neither what is personal nor what is not: whoever may read the table finds the row by its key
    assert "Mustermann" not in page and "address&gt;" not in page


def test_it_asks_nobody_for_anything(shop: Pipeline, store: SourceContract) -> None:
    _pull(shop, store, "good")
    page = _page(shop, "good")
    assert "published" in page and "failed" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)
    asked = re.findall(r"""(?:src|href)="([^"]*)"|url\(([^)]*)\)""", page)
    assert asked and all(first[:1] in ("/", "#") and not second for first, second in asked)
    assert "http" not in page and "//" not in page and "<script" not in page


def test_attempts_of_a_run_are_told_apart(shop: Pipeline, store: SourceContract) -> None:
    shop.at_source("update customers set email = 'none' where id = 7")
    with pytest.raises(GateFailed):
        _pull(shop, store, "bad")
    shop.at_source("update customers set email = 'c7@example.com' where id = 7")
    _pull(shop, store, "bad")
    page = _page(shop, "bad")
    assert page.count('<section id="raw_store.customers-') == 2
    assert page.index("published") < page.index("rejected")
    assert page.count("earlier attempt") == 1


def test_a_gate_has_a_page_too(shop: Pipeline, build: Any) -> None:
    build("first", "create table marts_candidate.one as select 1 as id")
    page = _page(shop, "first", "transform", "shop")
    assert "marts.one" in page and "expect_table_row_count_to_be_between" in page
    with pytest.raises(GateFailed):
        build("second", "create table marts_candidate.one as select 1 as id where false")
    assert ">failed<" in _page(shop, "second", "transform", "shop")


def test_of_a_run_that_judged_nothing_there_is_no_page(shop: Pipeline) -> None:
    assert data_docs.page(shop.connect, "ingest", "store", "never", LINKS) is None
    assert data_docs.page(shop.connect, "transform", "shop", "never", LINKS) is None
