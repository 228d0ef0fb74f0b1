"""The whole stack with Airflow: healthy, on loopback only, and back on its feet after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlsplit

from include.stack.home import PROJECT_ROOT
from include.stack.state import HEALTHY, StackState
from tests.e2e.conftest import Demo
from tests.support.lifecycle import Lifecycle
from tests.support.stack import Stack

_TABLES = "select tablename from pg_tables where schemaname = %s"


def test_status_tells_that_all_is_healthy_and_where(running_stack: Stack) -> None:
    status = running_stack.millrace("status")
    assert status.returncode == 0, status.stdout
    for service in (
        "postgres",
        "s3",
        "contacts-api",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
    ):
        assert f"{service} " in status.stdout
    assert running_stack.url in status.stdout
    assert running_stack.admin_password not in status.stdout


def test_nothing_listens_beyond_loopback(running_stack: Stack) -> None:
    listening = running_stack.listening()
    assert {address for address, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening} == set(running_stack.ports.values())


def test_one_logs_in_with_the_generated_password(running_stack: Stack) -> None:
    login = json.dumps({"username": "admin", "password": running_stack.admin_password}).encode()
    request = urllib.request.Request(
        f"{running_stack.url}/auth/token", data=login, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["access_token"]


def test_airflow_finds_nothing_wrong_with_the_configuration(running_stack: Stack) -> None:
    checked = subprocess.run(
        [sys.executable, "-W", "always", "-m", "airflow", "config", "lint"],
        cwd=PROJECT_ROOT,
        env=running_stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "No issues found" in checked.stdout, checked.stdout + checked.stderr
    for service in ("api-server", "scheduler", "dag-processor", "triggerer"):
        log = running_stack.home.log(service).read_text()
        # what SQLAlchemy holds against Airflow's own queries is no matter of configuration
        assert "DeprecationWarning" not in log.replace("SADeprecationWarning", "")
        assert "not found in config" not in log


def test_secrets_are_in_no_log_and_no_process_list(first_demo: Demo, lifecycle: Lifecycle) -> None:
    """Nor in alerts, nor in what Airflow and the ledger keep. Tests before this one have had runs, failures and kills."""
    home = lifecycle.stack.home
    secrets = dict(lifecycle.stack.secrets)
    for name, value in lifecycle.stack.variables.items():
        if name.startswith("AIRFLOW_CONN_"):
            secrets[name] = urlsplit(value).password or ""
    assert all(secrets.values())
    logs = [*home.logs.glob("*.log"), *(home.airflow / "logs").rglob("*.log")]
    assert {"scheduler.log", "attempt=1.log"} <= {log.name for log in logs}
    texts = {str(log): log.read_text(errors="replace") for log in logs}
    texts |= {
        "the process list": subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout,
        "the demo's output": first_demo.result.stdout + first_demo.result.stderr,
        "alerts": "\n".join(lifecycle.alerts()),
    }
    for database, schema, one in (("airflow", "public", "xcom"), ("warehouse", "ledger", "load_stream")):
        tables = [name for (name,) in lifecycle.at(database, _TABLES, schema)]
        for table in tables:
            rows = lifecycle.at(database, f'select t::text from {schema}."{table}" as t')
            texts[f"{schema}.{table}"] = "\n".join(row for (row,) in rows)
        assert texts[f"{schema}.{one}"]
    found = {
        (name, place) for place, text in texts.items() for name, value in secrets.items() if value in text
    }
    assert found == set()


def test_a_killed_scheduler_comes_back(running_stack: Stack) -> None:
    def scheduler() -> tuple[str, int]:
        unit = StackState.read(running_stack.home.state_file).units["scheduler"]
        assert unit.process is not None
        return unit.state, unit.process.pid

    _, first = scheduler()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        state, pid = scheduler()
        if state == HEALTHY and pid != first:
            break
        time.sleep(0.5)
    assert (state, pid != first) == (HEALTHY, True)
    assert running_stack.millrace("status").returncode == 0
