"""Running one step at a time and noting what it took: seconds, CPU of its process and of the server, peak memory."""

from __future__ import annotations

import json
import pickle
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from include.core.contracts import SourceContract
from include.stack import postgres
from include.stack.home import PROJECT_ROOT
from tests.benchmarks import others
from tests.support.pipeline import Pipeline
from tests.support.stack import S3Store


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, CPU seconds of the step's process and of PostgreSQL, and the process's peak memory in MB."""

    seconds: float
    client: float
    server: float
    peak: float
    result: int = 0


@dataclass
class Line:
    """What the turns of one step took, beside its limit in the same turn."""

    name: str
    costs: list[Cost]
    limits: list[Cost]

    def __str__(self) -> str:
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(self.costs, self.limits, strict=True))
        seconds, limit = (
            statistics.median(one.seconds for one in many) for many in (self.costs, self.limits)
        )
        cpu, least = (
            statistics.median(one.client + one.server for one in many) for many in (self.costs, self.limits)
        )
        peak = max(one.peak for one in self.costs)
        return (
            f"| {self.name} | {seconds:.2f} | {limit:.2f} | **{ratio:.2f}** | {cpu:.2f} | {least:.2f} |"
            f" {peak:,.0f} |"
        )


HEAD = (
    "| step | seconds | limit, seconds | ratio, median | CPU seconds | limit, CPU seconds | peak MB |\n"
    "|---|---|---|---|---|---|---|"
)


def in_turns(turns: int, steps: Sequence[tuple[str, Callable[[], Cost], str]]) -> list[Line]:
    """Each step in each turn, in order, so that a busy moment hits a step and its limit.

    :param steps: a name, the step, and the name of the step that is its limit (its own: it is one).
    """
    found: dict[str, list[Cost]] = {name: [] for name, _, _ in steps}
    for _ in range(turns):
        for name, step, _ in steps:
            found[name].append(step())
    return [Line(name, found[name], found[limit]) for name, _, limit in steps if name != limit]


class Bench:
    """The steps of one pipeline and one contract."""

    def __init__(self, pipeline: Pipeline, store: S3Store, contract: SourceContract) -> None:
        self.pipeline = pipeline
        self.store = store
        self.contract = contract
        self.load = 0
        with psycopg.connect(pipeline.source) as session:
            row = session.execute("select current_setting('data_directory')").fetchone()
        assert row is not None
        self._postmaster = psutil.Process(int((Path(row[0]) / "postmaster.pid").read_text().split()[0]))

    def ours(self, step: str, full: bool = True) -> Cost:
        """One of `extract`, `stage`, `audit`, `publish`, which go on with the load of the last extract, and `pull`."""
        # One run, which may begin anew without waiting for its own lease.
        given = pickle.dumps((self.pipeline, self.contract, "bench", step, self.load, full))
        cost = self._child([sys.executable, "-m", "tests.benchmarks.step"], given)
        if step == "extract":
            self.load = cost.result
        return cost

    def dlt(self, to: str) -> Cost:
        """dlt with connectorx, to `s3` or to `postgres`."""
        given = {
            "to": to,
            "source": self.pipeline.source,
            "warehouse": self.pipeline.warehouse,
            "tables": [stream.table.removeprefix("public.") for stream in self.contract.streams],
            "endpoint": self.store.endpoint_url,
            "bucket": self.store.bucket,
            "access_key": self.store.access_key,
            "secret_key": self.store.secret_key,
        }
        command = [str(others.programs() / "python"), str(others.HERE / "dlt_step.py")]
        return self._child(command, json.dumps(given).encode())

    def psql(self, uri: str, *commands: str) -> Cost:
        """What PostgreSQL's own client needs, in one session."""
        psql = str(postgres.package_binaries() / "psql")
        words = [word for command in commands for word in ("-c", command)]
        before, server = resource.getrusage(resource.RUSAGE_CHILDREN), self._server()
        begun = time.perf_counter()
        subprocess.run([psql, uri, "-q", *words], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(seconds, client, self._server() - server, 0)

    def _child(self, command: list[str], given: bytes) -> Cost:
        server = self._server()
        done = subprocess.run(command, input=given, capture_output=True, cwd=PROJECT_ROOT, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-4000:])
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return Cost(told["seconds"], told["cpu"], self._server() - server, told["peak"], told["result"])

    def _server(self) -> float:
        time.sleep(0.5)  # what an ended backend has used counts once it was reaped
        own = self._postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for backend in self._postmaster.children():
            try:
                total += sum(backend.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return float(total)
