"""Every process of a clone gets the same settings; another Airflow's do not get in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.core.connection import parse_connection
from include.stack import environment as module
from include.stack.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "state", root=tmp_path)
    home.create()
    return home


def test_each_connection_has_the_role_of_its_stage(home: Home) -> None:
    found = module.environment(home)
    roles = {
        name.removeprefix("AIRFLOW_CONN_").lower(): parse_connection(name, value)
        for name, value in found.items()
        if name.startswith("AIRFLOW_CONN_")
    }
    assert {name: c.login for name, c in roles.items() if c.conn_type == "postgres"} == {
        "shop": "shop_reader",
        "crm": "crm_writer",
        "warehouse_loader": "millrace_loader",
        "warehouse_transformer": "millrace_transformer",
        "warehouse_activator": "millrace_activator",
        "warehouse_developer": "millrace_developer",
        "warehouse_analyst": "millrace_analyst",
    }
    assert roles["landing"].extra["bucket"] == "landing"
    assert roles["contacts_api"].conn_type == "http"
    assert all(c.host == "127.0.0.1" for c in roles.values() if c.host)


def test_every_address_is_on_loopback(home: Home) -> None:
    found = module.environment(home)
    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "://127.0.0.1:" in found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    assert found["WAREHOUSE_HOST"] == "127.0.0.1"


def test_the_users_env_file_wins(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILLRACE_ENV_FILE")  # tests know of no such file
    (home.root / ".env").write_text("AIRFLOW_CONN_SHOP=postgres://me@db.example/shop\nMINE=1\n")
    found = module.environment(home)
    assert found["AIRFLOW_CONN_SHOP"] == "postgres://me@db.example/shop"
    assert found["MINE"] == "1"


def test_settings_of_another_airflow_stay_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("AIRFLOW_CONN_MINE", "http://example.com")
    found = module.process_environment(home)
    assert "AIRFLOW__CORE__LOAD_EXAMPLES" not in found
    assert "PYTHONDONTWRITEBYTECODE" not in found
    assert found["AIRFLOW_HOME"] == str(home.airflow)
    assert found["AIRFLOW_CONN_MINE"] == "http://example.com"


def test_the_bundle_is_the_project_root(home: Home) -> None:
    bundles = json.loads(module.environment(home)["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    assert [bundle["kwargs"]["path"] for bundle in bundles] == [str(home.root)]
