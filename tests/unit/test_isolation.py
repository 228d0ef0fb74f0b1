"""What stands in the shell and in the `.env` of whoever runs the tests leads to real systems: no test may reach them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from include.stack.home import PROJECT_ROOT, Home
from tests.support import own_sources, stack
from tests.support.stack import Stack


def test_the_settings_of_whoever_runs_the_tests_do_not_reach_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "state").mkdir()
    (project / ".env").write_text(
        "AIRFLOW_CONN_ALERTS=slack://the.team\nAIRFLOW_CONN_CRM=postgres://real/crm\n"
    )
    theirs = {
        "AIRFLOW_CONN_MINE": "postgres://real/production",
        "AIRFLOW_VAR_MINE": "real",
        "AWS_PROFILE": "real",
        "DBT_TARGET_PATH": "/real",
        "MILLRACE_PASSWORD": "real",
        "MILLRACE_URL": "https://airflow.real",
        "PGSERVICE": "real",
    }
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MILLRACE_ENV_FILE")

    with stack.nothing_of_yours(tmp_path / "env"):
        found = Stack(Home(tmp_path / "state", root=project)).environment
    assert set(found).isdisjoint(theirs)
    assert json.loads(found["AIRFLOW_CONN_ALERTS"])["extra"]["config"]["path"].startswith("alertlog://")
    assert "@127.0.0.1:" in found["AIRFLOW_CONN_CRM"]
    assert {name: os.environ[name] for name in theirs} == theirs  # theirs again, afterwards


def test_every_test_is_apart_from_them() -> None:
    file = Home(PROJECT_ROOT / ".millrace").env_file
    assert file != PROJECT_ROOT / ".env"
    assert file.read_text() == ""
    assert [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "MILLRACE_"))] == [
        "MILLRACE_ENV_FILE"
    ]


def test_a_stack_of_tests_has_the_contracts_of_the_shop_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, copies = tmp_path / "project", tmp_path / "contracts"
    shops = {path.relative_to(own_sources.CONTRACTS) for path in own_sources.shops_contracts()}
    for name in (*shops, Path("sources/mine.yaml"), Path("syncs/mine.yaml")):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("retry:\n  delay: 10s\n")
    monkeypatch.setattr(own_sources, "CONTRACTS", project)

    given = own_sources.variables(Home(tmp_path / "state"), copies)
    assert given["MILLRACE_CONTRACTS"] == str(copies)
    assert {path.relative_to(copies) for path in copies.rglob("*.yaml")} == shops
