"""An audit that its server breaks off is tried again: it says nothing about the batch, nor about the rules."""

from __future__ import annotations

import threading
from dataclasses import replace

import great_expectations.expectations as gxe
import psycopg
import pytest

from include.core.connection import Connection
from include.core.errors import TerminalError, Unreachable
from include.quality import gate
from tests.support.activation import free_port
from tests.support.pipeline import Pipeline


def test_a_session_that_is_ended_in_the_middle(pipeline: Pipeline) -> None:
    pipeline.at_warehouse("create table raw_t as select 1 as id; grant usage on schema public to public")
    pipeline.at_warehouse("grant select on raw_t to public")
    loader, over = pipeline.connect("warehouse_loader"), threading.Event()
    killer = threading.Thread(target=_end_sessions, args=(pipeline.warehouse, over))
    killer.start()
    try:
        with pytest.raises(Unreachable, match="broke off"):
            _audit(loader, gxe.ExpectColumnValuesToNotBeNull(column="id"))
    finally:
        over.set()
        killer.join()
    # and what is wrong with a rule does not pass
    with pytest.raises(TerminalError, match="could not be evaluated"):
        _audit(loader, gxe.UnexpectedRowsExpectation(unexpected_rows_query="select nonsense from {batch}"))


def test_a_server_that_is_not_there(pipeline: Pipeline) -> None:
    away = replace(pipeline.connect("warehouse_loader"), port=free_port())
    with pytest.raises(Unreachable, match="broke off"):
        _audit(away, gxe.ExpectColumnValuesToNotBeNull(column="id"))


def _audit(warehouse: Connection, rule: gxe.Expectation) -> gate.Verdict:
    return gate.audit(warehouse, "public", "raw_t", [rule])


def _end_sessions(warehouse: str, over: threading.Event) -> None:
    query = (
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'millrace_loader'"
        " and datname = current_database()"
    )
    with psycopg.connect(warehouse, autocommit=True) as admin:
        while not over.wait(0.005):
            admin.execute(query)
