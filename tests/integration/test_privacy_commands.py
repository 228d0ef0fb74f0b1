"""Protected values at the command line: revealed for who holds the key, and missing keys are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from include.cli.main import app
from tests.support.clinic import NEW, OLD, PEOPLE, clinic_contract
from tests.support.pipeline import Pipeline, answers


def test_tokens_of_a_query_are_revealed_by_the_command(
    clinic: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clinic.pull(clinic_contract(PEOPLE))
    rows = clinic.at_warehouse("select name, email from raw_clinic.people order by email")
    _for_the_command_line(monkeypatch, tmp_path, f"{NEW} {OLD}")
    given = "".join(f"{name or ''},{email}\n" for name, email in rows)
    told = CliRunner().invoke(app, ["reveal", "clinic"], input=given)
    assert told.exit_code == 0, told.output
    clear = {email for (email,) in clinic.at_source("select email from people")}
    assert {line.split(",")[1] for line in told.output.splitlines()} == clear
    assert {line.split(",")[0] for line in told.output.splitlines()} == {"", "***"}
    _for_the_command_line(monkeypatch, tmp_path, NEW)
    refused = CliRunner().invoke(app, ["reveal", "clinic"], input=given)
    assert refused.exit_code == 1 and "line 1: the token's key is not here" in refused.output
    assert "1b1b" not in told.output + refused.output


def test_the_check_of_a_contract_looks_at_its_keys(
    clinic: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", clinic.source)
    for keys, code, said in (
        (OLD, 0, "0 faults"),
        ("2025:geheim", 1, "connection 'keys': the connection holds no keys"),
    ):
        path = _for_the_command_line(monkeypatch, tmp_path, keys)
        told = CliRunner().invoke(app, ["contract", "check", "clinic", "--connect"])
        assert (told.exit_code, said in told.output) == (code, True), told.output
        assert "geheim" not in told.output
    line = path.read_text(encoding="utf-8").splitlines().index("privacy_keys: keys") + 1
    assert f"{path}:{line}: connection 'keys'" in told.output and "1 faults" in told.output


def _for_the_command_line(monkeypatch: pytest.MonkeyPatch, folder: Path, keys: str) -> Path:
    """The contract as a file, and its keys in the environment."""
    path = folder / "sources" / "clinic.yaml"
    path.parent.mkdir(exist_ok=True)
    said = answers("clinic", [PEOPLE]) | {"privacy_keys": "keys"}
    path.write_text(yaml.safe_dump(said), encoding="utf-8")
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(folder))
    monkeypatch.setenv("MILLRACE_HOME", str(folder / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_KEYS", json.dumps({"conn_type": "generic", "password": keys}))
    return path
