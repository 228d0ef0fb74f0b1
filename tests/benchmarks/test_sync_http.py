"""Reverse ETL to an HTTP API: how much of what latency and concurrency allow is reached, beside a naive client.

limit   batch * concurrency / latency: what an API that answers each request after a fixed time lets through
naive   the same batches one after the other, each by a request of its own, with nothing remembered
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from include import activation
from include.core.connection import Connection
from include.stack.home import PROJECT_ROOT
from tests.support.activation import Warehouse, free_port, http_contract, people, warehouse

LATENCY, CONCURRENCY = 0.2, 8
#: Records in a batch, and rows to send: about five seconds.
BATCHES = {100: 20_000, 500: 100_000}


@contextmanager
def slow_api(latency: float) -> Iterator[Connection]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.slow_api", "--port", str(port), "--latency", str(latency)],
        cwd=PROJECT_ROOT,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield Connection("api", "http", "127.0.0.1", port)
    finally:
        process.kill()
        process.wait()


def naive(source: Warehouse, api: Connection, batch: int, rows: int) -> float:
    """Rows a second."""
    begun = time.perf_counter()
    read = source.execute(
        "select row_to_json(c) from activation.contacts c order by external_id limit %s", rows
    )
    for start in range(0, rows, batch):
        records = [{"id": row["external_id"], "properties": row} for (row,) in read[start : start + batch]]
        request = urllib.request.Request(
            f"http://127.0.0.1:{api.port}/upsert", data=json.dumps({"records": records}).encode()
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            json.load(response)
    return rows / (time.perf_counter() - begun)


def ours(source: Warehouse, batch: int, latency: float, rate: str | None) -> tuple[float, float, float]:
    """Rows a second, seconds of CPU of this process for 1,000 rows, and rows a second of the naive client."""
    contract = http_contract(path="/upsert", concurrency=CONCURRENCY, batch_size=batch, rate_limit=rate)
    source.execute("truncate ledger.sync_run, ledger.sync_record")
    with slow_api(latency) as api:
        used = sum(os.times()[:2])
        report = activation.run(contract, source.connection, api, run_id="bench")
        used = sum(os.times()[:2]) - used
        beside = naive(source, api, batch, batch * 10)
    # The plan is no matter of HTTP.
    seconds = source.execute(
        "select extract(epoch from finished_at - started_at)::float8 from ledger.sync_run"
    )[0][0]
    return report.delivered / seconds, used * 1000 / report.delivered, beside


@pytest.mark.parametrize("rate", [None, "100000/1s"], ids=["as fast as it goes", "with a rate limit"])
def test_http_reaches_what_latency_and_concurrency_allow(
    database: Callable[..., str], rate: str | None
) -> None:
    """`rate` is far above what can go: it costs its tokens and holds nothing back."""
    source, shares = warehouse(database("warehouse")), []
    print(f"\nrate_limit: {rate}, {CONCURRENCY} at a time, {LATENCY} s an answer, rows a second")
    print("| batch | limit | without latency | ours | of the lower one | naive | CPU ms/1000 rows |")
    print("|---|---|---|---|---|---|---|")
    for batch, rows in BATCHES.items():
        source.publish(people(rows))
        limit = batch * CONCURRENCY / LATENCY
        most, _, _ = ours(source, batch, 0, rate)
        reached, cpu, beside = ours(source, batch, LATENCY, rate)
        shares.append(reached / min(limit, most))
        figures = f"{limit:,.0f} | {most:,.0f} | {reached:,.0f} | **{shares[-1]:.0%}** | {beside:,.0f}"
        print(f"| {batch} | {figures} | {cpu * 1000:.0f} |")
    assert min(shares) >= 0.75
