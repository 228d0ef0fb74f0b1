"""Parsing DAG files as Airflow's DAG processor does, with no database and no service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.stack.home import PROJECT_ROOT

Report = dict[str, Any]
Parse = Callable[..., Report]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshot",
        action="store_true",
        help="write the graph of all DAGs to tests/dags/graph.json instead of comparing it",
    )


@pytest.fixture(scope="session")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """`parse(root, **variables)` reports on the DAG bundle at `root`, parsed in a fresh process."""

    def run(root: Path = PROJECT_ROOT, **variables: str) -> Report:
        scratch = tmp_path_factory.mktemp("parse")
        home = scratch / "airflow"
        home.mkdir()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(root), str(PROJECT_ROOT)])),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONFIG": str(PROJECT_ROOT / "airflow.cfg"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
            # what a file costs is measured in processor time: on a busy machine it may take long
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
            "AIRFLOW__COSMOS__CACHE_DIR": str(home / "cosmos"),
            **variables,
        }
        report = scratch / "report.json"
        done = subprocess.run(
            [sys.executable, "-m", "tests.dags.parse", str(report), str(root)],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return dict(json.loads(report.read_text(encoding="utf-8")))

    return run


@pytest.fixture(scope="session")
def dbt_manifest() -> Path:
    """The dbt graph that transform DAGs are made of, as the stack and the image write it. Needs no database."""
    project = PROJECT_ROOT / "dbt_project"
    manifest = project / "target" / "manifest.json"
    sources = [
        path
        for folder in ("models", "macros", "tests", "dbt_project.yml", "profiles.yml")
        for path in (project / folder, *(project / folder).rglob("*"))
    ]
    if manifest.exists() and manifest.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return manifest
    command = [str(Path(sys.executable).with_name("dbt")), "parse", "--target", "prod"]
    variables = {**os.environ, "WAREHOUSE_TRANSFORMER_PASSWORD": "not-used-by-parsing"}
    variables |= {"DBT_PROFILES_DIR": str(project), "DBT_SEND_ANONYMOUS_USAGE_STATS": "False"}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return manifest


@pytest.fixture(scope="session")
def report(parse: Parse, dbt_manifest: Path) -> Report:
    """What the project's own DAG files define and do."""
    return parse()
