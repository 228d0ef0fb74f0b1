"""One step of an ingest in a process of its own, so that its memory and CPU are its own; `measured.py` starts it.

Reads the pipeline, the contract, the run's id, the step and its load from stdin (pickled); writes one JSON object.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from datetime import datetime, timezone
from importlib import import_module

from include.core.interval import Interval
from include.flows.extract import extract
from include.flows.load import audit, stage
from include.flows.publish import balance, close, publish
from include.flows.source_run import SourceRun
from include.warehouse import ledger
from include.warehouse.connect import connected

#: What a task finds imported, because the process that it is forked from did (plugins/airflow_local_settings.py).
_WARM = ("adbc_driver_postgresql", "boto3", "psycopg", "pyarrow.parquet", "pgpq")


def _extract(run: SourceRun, _load: int, full: bool) -> int:
    return extract(run, Interval(None, datetime.now(timezone.utc)), full_refresh=full).load_id


def _stage(run: SourceRun, load: int, _full: bool) -> int:
    return stage(run, load, *(stream.name for stream in run.contract.streams))


def _audit(run: SourceRun, load: int, _full: bool) -> int:
    verdicts = audit(run, load, *(stream.name for stream in run.contract.streams))
    assert all(not verdict.failures for verdict in verdicts), verdicts
    return sum(verdict.expectations for verdict in verdicts)


def _publish(run: SourceRun, load: int, _full: bool) -> int:
    publish(run, load)
    close(run, load)
    return load


def _pull(run: SourceRun, _load: int, full: bool) -> int:
    """A whole run. Only of one that has nothing to stage, as no audit is asked for."""
    load = _extract(run, 0, full)
    publish(run, load)
    balance(run, load)
    close(run, load)
    return load


def main() -> None:
    pipeline, contract, run_id, step, load, full = pickle.load(sys.stdin.buffer)
    run = SourceRun(contract, pipeline.connect, run_id)
    for name in (*_WARM, *(["great_expectations.expectations"] if step == "audit" else [])):
        import_module(name)
    if step == "publish":  # what an audit that finds nothing leaves in the ledger; the audit is not measured
        with connected(run.loader()) as session:
            for stream in contract.streams:
                ledger.record_audit(session, load, stream.name, passed=True, expectations=0, failures=[])
    begun, used = time.perf_counter(), sum(os.times()[:2])
    steps = {"extract": _extract, "stage": _stage, "audit": _audit, "publish": _publish, "pull": _pull}
    result = steps[step](run, load, full)
    seconds, cpu = time.perf_counter() - begun, sum(os.times()[:2]) - used
    # ru_maxrss counts the process that started this one too
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "result": result}))


if __name__ == "__main__":
    main()
