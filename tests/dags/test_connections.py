"""How a task comes by its connections."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from include.stack.home import PROJECT_ROOT

_ASK = """
from include.core.errors import TerminalError
from plugins.tasks.context import connect
assert connect("there").password == "geheim"
try:
    connect("not_there")
except TerminalError as error:
    print(error)
"""


def test_a_connection_that_is_not_there_ends_a_task_without_a_retry(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT_ROOT),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONFIG": str(PROJECT_ROOT / "airflow.cfg"),
        "AIRFLOW_CONN_THERE": '{"conn_type": "generic", "password": "geheim"}',
    }
    asked = subprocess.run(
        [sys.executable, "-c", _ASK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr[-2000:]
    assert "connection 'not_there': there is no such connection" in asked.stdout
    assert "AIRFLOW_CONN_NOT_THERE" in asked.stdout and "geheim" not in asked.stdout + asked.stderr
