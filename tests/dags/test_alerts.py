"""What an alert says when the source's schema is no longer the contract's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from include.stack.home import PROJECT_ROOT
from tests.unit.test_contracts_check import SOURCE, write

_FAIL = """
from types import SimpleNamespace
from airflow.sdk.exceptions import AirflowFailException
from include.core.changes import Found, compare, refuse
from include.core.contracts import SourceContract
from plugins.tasks.alerts import FailureAlert
from plugins.tasks.context import contract
from plugins.tasks.errors import translated

source = contract(SourceContract, "shop")
stream = source.streams[0]
there = [Found(name, rule.type) for name, rule in stream.columns.items()] + [Found("colour", "numeric(9,2)")]
found = compare(source, stream, there, stream.primary_key)
task = SimpleNamespace(task_id="extract", dag_id="ingest__shop", run_id="r1", log_url="http://log", map_index=-1,
                       rendered_map_index=None)
try:
    translated(refuse)(source, {stream.name: found.changes}, ())
except AirflowFailException as error:
    FailureAlert("ingest", "shop").notify({"task_instance": task, "exception": error})
"""


def test_it_carries_the_difference_and_what_to_write_into_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "contracts", "sources", "shop", f"{SOURCE}alerts: {{on_failure: [file]}}\n")
    told = tmp_path / "alerts.log"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT_ROOT),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONFIG": str(PROJECT_ROOT / "airflow.cfg"),
        "MILLRACE_CONTRACTS": str(tmp_path / "contracts"),
        "AIRFLOW_CONN_FILE": f'{{"conn_type": "apprise", "extra": {{"config": {{"path": "alertlog://{told}"}}}}}}',
    }
    asked = subprocess.run(
        [sys.executable, "-c", _FAIL], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-2000:]
    alert = told.read_text(encoding="utf-8")
    assert "ingest__shop failed at extract" in alert
    assert (
        "Incident:    not recorded, the ledger could not be written (ContractError)" in alert
    )  # and sent all the same
    assert "column 'colour': contract does not know it, source has numeric(9,2) (new_column)" in alert
    assert 'colour: {type: "numeric(9,2)"}  # new' in alert
