"""Whether what was published is followed: no transform is forgotten, and no regular load passes for a backfill."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.flows import forgotten
from include.flows.status import serves_more_than_backfills
from include.flows.transform import Transform
from tests.support.days import again, opened, pull
from tests.support.pipeline import Pipeline

TABLES = (
    "create table marts_candidate.one as select 1 as id",
    "create table activation_candidate.contacts as select 1 as id",
)


@pytest.fixture
def shop(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path / "contracts"))
    return opened(pipeline, tmp_path / "contracts")


def _behind(shop: Pipeline, after: timedelta = timedelta(minutes=5)) -> dict[str, int]:
    return forgotten.behind(shop.connect, datetime.now(timezone.utc) + after)


def test_a_transform_that_has_not_begun_since_is_found_once(
    shop: Pipeline, build: Callable[..., Transform]
) -> None:
    assert _behind(shop) == {}
    first = pull(shop, "2026-01-10").load_id
    assert _behind(shop, timedelta()) == {}, "Airflow has some time to start it"
    assert _behind(shop) == {"shop": first}
    build("first", *TABLES)
    assert _behind(shop) == {}
    second = again(shop, "2026-01-05").load_id
    assert _behind(shop) == {"shop": second}
    forgotten.started(shop.connect, "shop", second)
    assert _behind(shop) == {}, "it could not begin, and is not started for ever"
    third = pull(shop, "2026-01-11").load_id
    assert _behind(shop) == {"shop": third}


def test_a_regular_load_among_backfills_is_seen(shop: Pipeline, build: Callable[..., Transform]) -> None:
    pull(shop, "2026-01-10")
    first = build("first", *TABLES)
    assert first.brings_more_than_backfills()
    first.publish()
    again(shop, "2026-01-05")
    second = build("second", *TABLES)
    assert not second.brings_more_than_backfills()
    second.publish()
    assert not second.brings_more_than_backfills(), "a second try says the same"
    again(shop, "2026-01-05")
    pull(shop, "2026-01-11")
    again(shop, "2026-01-06")
    assert build("third", *TABLES).brings_more_than_backfills()


def test_what_a_sync_has_not_delivered_is_more_than_backfills_until_it_has(
    shop: Pipeline, build: Callable[..., Transform]
) -> None:
    def serves() -> bool:
        return serves_more_than_backfills(shop.connect, "shop", "contacts")

    def delivered(version: int, status: str = "delivered") -> None:
        shop.at_warehouse(
            "insert into ledger.sync_run (sync, run_id, model_version, status, finished_at, read, unchanged, creates,"
            " updates, held) values ('contacts', 'run', %s, %s, now(), 0, 0, 0, 0, 0)",
            f"activation_v{version}.contacts",
            status,
        )

    pull(shop, "2026-01-10")
    version, _ = build("first", *TABLES).publish()
    assert serves()
    delivered(version, "failed")
    assert serves()
    delivered(version)
    assert not serves()
    again(shop, "2026-01-05")
    build("second", *TABLES).publish()
    assert not serves()
    pull(shop, "2026-01-11")
    build("third", *TABLES).publish()
    again(shop, "2026-01-06")
    version, _ = build("fourth", *TABLES).publish()
    assert serves(), "of the third nothing was delivered, whatever the fourth was built for"
    delivered(version)
    assert not serves()
