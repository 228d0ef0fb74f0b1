"""A stream of mode log, its slot, and what tests ask of it."""

from __future__ import annotations

from typing import Any

from include.core.contracts import SourceContract
from include.sources.log import Slot, SlotState, open_slot
from tests.support.pipeline import Pipeline, contract

TABLE = (
    "create table docs (id int primary key, title text, body text, amount numeric(12,2));"
    "alter table docs alter body set storage external;"
    "insert into docs select i, 't' || i, repeat(md5(i::text), 300), i / 7.0 from generate_series(1, 20) i"
)
DOCS: dict[str, Any] = {
    "name": "docs",
    "table": "public.docs",
    "primary_key": ["id"],
    "mode": "log",
    "max_delete_share": 1,
    "columns": {
        "id": {"type": "integer"},
        "title": {"type": "text"},
        "body": {"type": "text"},
        "amount": {"type": "numeric(12,2)"},
    },
}
COLUMNS = "id, title, body, amount"


def docs(*streams: dict[str, Any], **fields: Any) -> SourceContract:
    """A source whose stream docs is read by the log. `fields` are of that stream."""
    return contract("store", [DOCS | fields, *streams])


def slot_of(pipeline: Pipeline, store: SourceContract) -> Slot:
    return open_slot(store, pipeline.connect("source"))


def state_of(pipeline: Pipeline, store: SourceContract) -> SlotState:
    state = slot_of(pipeline, store).state()
    assert state is not None
    return state


def begun(pipeline: Pipeline, store: SourceContract) -> SourceContract:
    """The source after its slot was made and its first load published."""
    slot_of(pipeline, store).create()
    pipeline.pull(store)
    return store


def same(pipeline: Pipeline) -> bool:
    return pipeline.same("docs", "raw_store.docs", COLUMNS)


def read(pipeline: Pipeline, store: SourceContract, stream: str = "docs", **options: Any) -> tuple[int, ...]:
    """What one pull did: changes or rows extracted, inserted, updated, deleted."""
    rows = {row["stream"]: row for row in pipeline.pull(store, **options).streams}
    return tuple(rows[stream][name] for name in ("extracted", "inserted", "updated", "deleted"))


def history(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """What the history has, in its order, bodies as the first of their signs."""
    return pipeline.at_warehouse(
        "select id, title, left(body, 1), _change from raw_store.docs__history order by _load_id, _seq, id"
    )


#: Each is a load in the life of the table docs.
LIFE = (
    "update docs set title = 'a' where id = 1; delete from docs where id = 2; insert into docs values (21, 'n', 'b', 1)",
    "update docs set title = 'b' where id = 1; update docs set id = 30 where id = 3;"
    "insert into docs values (2, 'r', null, 2);"
    "update docs set body = repeat('q', 9000) where id = 4; update docs set title = 'q' where id = 4",
    "truncate docs; insert into docs select i, 'anew', repeat('w', 9000), i from generate_series(1, 5) i",
    "update docs set amount = 0 where id <= 3; update docs set id = 77 where id = 5; delete from docs where id = 4",
    "alter table docs add column extra int; alter table docs drop column extra; update docs set title = 'end' where id = 1",
    "update docs set title = 'more' where id in (1, 77); delete from docs where id = 2",
)
