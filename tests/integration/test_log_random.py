"""Whatever is done to a table, in whatever order: raw, its history and a replay agree with it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from include.core.contracts import SourceContract
from tests.support.logged import begun
from tests.support.pipeline import Pipeline, contract
from tests.support.replays import image, replayed

KEYS = [(n, name) for n in (1, 2) for name in ("a", "b'", '"c', "%s")]
COLUMNS = 'n, "na me", small, "{body}", other'
TABLE = """
create table things (n int, "na me" text, small int, "{body}" text, other jsonb, primary key (n, "na me"));
alter table things alter "{body}" set storage external; alter table things alter other set storage external;
"""
STREAM: dict[str, Any] = {
    "name": "things",
    "table": "public.things",
    "primary_key": ["n", "na me"],
    "mode": "log",
    "history": "append",
    "max_delete_share": 1,
    "columns": {
        "n": {"type": "integer"},
        "na me": {"type": "text"},
        "small": {"type": "integer"},
        "{body}": {"type": "text"},
        "other": {"type": "jsonb"},
    },
}


def statements(chance: random.Random) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Changes of single rows; those of a key that is taken, or is not there, do nothing."""
    whole = 'n = %s and "na me" = %s'
    while True:
        key, other = chance.sample(KEYS, 2)
        body = chance.choice((None, "short", chance.choice("xyz") * 9000))
        document = chance.choice((None, '{"k": "%s"}' % (chance.choice("uvw") * 9000)))
        yield chance.choices(
            (
                (
                    "insert into things values (%s, %s, %s, %s, %s) on conflict do nothing",
                    (*key, 1, body, document),
                ),
                (f"update things set small = %s where {whole}", (chance.randrange(99), *key)),
                (f'update things set "{{body}}" = %s where {whole}', (body, *key)),
                (f"update things set other = %s, small = 7 where {whole}", (document, *key)),
                (
                    f'update things set n = %s, "na me" = %s where {whole}'
                    ' and not exists (select from things where n = %s and "na me" = %s)',
                    (*other, *key, *other),
                ),
                (f"delete from things where {whole}", key),
                ("truncate things", ()),
            ),
            (8, 8, 5, 5, 6, 4, 0.5),
        )[0]


def live(pipeline: Pipeline, chance: random.Random) -> None:
    """Some transactions, one after the other, with savepoints and rollbacks."""
    changes = statements(chance)
    with psycopg.connect(pipeline.source, autocommit=True) as session:
        for _ in range(chance.randrange(1, 9)):
            with session.transaction(force_rollback=chance.random() < 0.15), ExitStack() as points:
                for _ in range(chance.randrange(1, 6)):
                    if chance.random() < 0.2:
                        points.enter_context(session.transaction(force_rollback=chance.random() < 0.4))
                    session.execute(*next(changes))  # type: ignore[arg-type]


def last_of_history(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.at_warehouse(
        f'select ({COLUMNS})::text from (select distinct on (n, "na me") * from raw_shelf.things__history'
        " order by n, \"na me\", _load_id desc, _seq desc nulls last) as newest where _change <> 'delete' order by 1"
    )


@pytest.mark.parametrize("identity", ["default", "full"])
@pytest.mark.parametrize("deleted_rows", ["tombstone", "remove"])
def test_anything_goes(pipeline: Pipeline, identity: str, deleted_rows: str) -> None:
    chance = random.Random(f"{identity} {deleted_rows}")
    pipeline.at_source(TABLE)
    pipeline.at_source(f"alter table things replica identity {identity}")
    live(pipeline, chance)
    shelf: SourceContract = begun(pipeline, contract("shelf", [STREAM | {"deleted_rows": deleted_rows}]))
    for number in range(12):
        live(pipeline, chance)
        pipeline.pull(shelf, full_refresh=number == 6)
        assert pipeline.same("things", "raw_shelf.things", COLUMNS), number
        source = pipeline.at_source(f"select ({COLUMNS})::text from things order by 1")
        assert last_of_history(pipeline) == source, number
    before = image(pipeline, shelf)
    assert replayed(pipeline, shelf)["things"].as_before
    pipeline.at_warehouse("drop table raw_shelf.things")
    replayed(pipeline, shelf)
    assert image(pipeline, shelf) == before
