"""The checks of test_integrity.py find what they are there to find: each of these DAG files does one thing wrong."""

from __future__ import annotations

import pytest

from tests.dags import policy
from tests.dags.conftest import Parse, Report

_DAG = """
from airflow.sdk import DAG, task
with DAG("ingest__{name}", schedule=None):
    @task
    def extract():
        pass
    extract()
"""
_NOT_PURE = {
    "connects": (
        "import socket, contextlib\nwith contextlib.suppress(OSError):\n"
        "    socket.create_connection(('127.0.0.1', 9), timeout=0.2)",
        "connects to ('127.0.0.1', 9)",
    ),
    "resolves": (
        "import socket\nsocket.getaddrinfo('localhost', 5432)",
        "asks for the address of localhost",
    ),
    "starts_a_program": ("import subprocess\nsubprocess.run(['true'])", "starts ['true']"),
    "writes": (
        "from pathlib import Path\n(Path(__file__).parents[1] / 'left.txt').write_text('x')",
        "left.txt for writing",
    ),
    "makes_a_folder": (
        "from pathlib import Path\n(Path(__file__).parents[1] / 'left').mkdir(exist_ok=True)",
        "makes the folder",
    ),
    "opens_a_database": ("import sqlite3\nsqlite3.connect(':memory:')", "opens the database :memory:"),
    "reads_a_variable": (
        "from airflow.sdk import Variable\nVariable.get('rate', default=None)",
        "reads the secret AIRFLOW_VAR_RATE",
    ),
    "reads_a_password": (
        "import os\nos.environ.get('WAREHOUSE_LOADER_PASSWORD')",
        "reads the secret WAREHOUSE_LOADER_PASSWORD",
    ),
    "reads_a_connection": (
        "import os\nos.getenv('AIRFLOW_CONN_SHOP')",
        "reads the secret AIRFLOW_CONN_SHOP",
    ),
    "imports_a_driver": ("import psycopg", "imports psycopg;"),
    "imports_an_engine": ("import great_expectations", "imports great_expectations;"),
}
_NOT_LOADABLE = {
    "cycle": _DAG.format(name="cycle").replace(
        "    extract()", "    a = extract(); b = extract(); a >> b >> a"
    ),
    "twice": _DAG.format(name="connects"),
    "mistyped": "from airflow.sdk import DAG\nimport no_such_package",
}


@pytest.fixture(scope="module")
def bad(parse: Parse, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report on all of these files, in a bundle of their own."""
    root = tmp_path_factory.mktemp("bundle")
    (root / "dags").mkdir()
    files = {name: f"{code}\n{_DAG.format(name=name)}" for name, (code, _) in _NOT_PURE.items()}
    files |= _NOT_LOADABLE
    # once, and in proportion to what its process has used by then, Airflow too: on any machine beyond its share
    burn = (
        "import sys, time\nused = time.process_time()\n"
        "while not hasattr(sys, 'burned') and time.process_time() < 1.6 * used: pass\nsys.burned = True"
    )
    files["burns"] = f"{burn}\n{_DAG.format(name='burns')}"
    for name, text in files.items():
        (root / "dags" / f"{name}.py").write_text(text, encoding="utf-8")
    return parse(root)


@pytest.mark.parametrize("name", _NOT_PURE)
def test_what_a_file_does_beside_defining_dags_is_found(bad: Report, name: str) -> None:
    found = next(policy.side_effects(file) for file in bad["files"] if file["file"] == f"dags/{name}.py")
    assert any(_NOT_PURE[name][1] in what for what in found), found


def test_what_one_file_did_is_not_held_against_another(bad: Report) -> None:
    innocent = next(file for file in bad["files"] if file["file"] == "dags/burns.py")
    assert policy.side_effects(innocent) == []


def test_files_that_do_not_load_are_found(bad: Report) -> None:
    errors = bad["import_errors"]
    assert set(errors) == {f"dags/{name}.py" for name in _NOT_LOADABLE}
    assert "cycle" in errors["dags/cycle.py"].lower()
    assert "ingest__connects" in errors["dags/twice.py"]
    assert "no_such_package" in errors["dags/mistyped.py"]


def test_costly_files_are_found(bad: Report) -> None:
    found = "\n".join(policy.over_budget(bad))
    assert "dags/burns.py takes" in found
    assert "dags/imports_an_engine.py imports" in found


def test_a_dag_that_nobody_can_run_is_found(bad: Report) -> None:
    found = "\n".join(policy.faults("ingest__burns", bad["dags"]["ingest__burns"]))
    for what in (
        "lack its kind",
        "no description",
        "what to do when it fails",
        "no deadline",
        "task extract: nobody owns it (owner 'airflow')",
        "task extract: it is not tried again",
        "task extract: it may run for ever",
        "task extract: nobody is told",
        "task extract: it does not say what it does",
        "its incidents are ended by [], and not by complete",
        "step stage is missing",
    ):
        assert what in found


def test_steps_against_the_way_of_the_data_are_found() -> None:
    tasks = {"plan": {"then": ["settle"]}, "settle": {"then": ["deliver"]}, "deliver": {"then": []}}
    (found,) = policy.way_faults("activate", tasks)
    assert found.startswith("task settle comes before deliver")
    assert policy.way_faults("activate", {**tasks, "sent": {"then": []}})
    assert policy.faults("Shop Ingest", _bare())[0].startswith("its id is not")


def _bare() -> dict[str, object]:
    return {
        "description": "",
        "doc_md": "",
        "tags": [],
        "deadlines": 0,
        "catchup": True,
        "tasks": {},
        "graph": {"tasks": {}},
    }
