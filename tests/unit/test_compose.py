"""docker-compose.yaml and its image against the compose schema, against the installed Airflow, and against the project.

No container engine is needed, and none is used: what only an engine can tell, these tests do not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from include.cli.main import app
from include.core.connection import parse_connection
from include.core.contracts import SourceContract, SyncContract, TransformContract
from include.core.contracts.load import load_all
from include.stack import postgres
from include.stack.environment import environment
from include.stack.home import PROJECT_ROOT, Home
from include.warehouse.bootstrap import ROLES
from tests.support import compose, own_sources

FILE = PROJECT_ROOT / "docker-compose.yaml"
EXAMPLE = PROJECT_ROOT / ".env.example"
IMAGE = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")
# what one would fill in: a value that shows where it ends up
FILLED = {
    name: "postgresql://reader:secret@db.example.com:5432/app?sslmode=require"
    if name.startswith("AIRFLOW_CONN_")
    else f"x{name.lower().replace('_', '')}"
    for name in compose.example(EXAMPLE)[0]
} | {
    "AIRFLOW_CONN_CONTACTS_API": "https://:token@mail.example.com/",
    "AIRFLOW_CONN_ALERTS": '{"conn_type": "apprise", "extra": {"config": {"path": "json://alerts.example.com"}}}',
}
SERVICES: dict[str, dict[str, Any]] = compose.load(FILE, FILLED)["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONCE = {name for name, service in SERVICES.items() if service["restart"].startswith("on-failure")}


def test_it_fits_the_compose_schema() -> None:
    schemas = pytest.importorskip(
        "check_jsonschema", reason="carries the schema of the compose specification"
    )
    import jsonschema

    path = Path(schemas.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(document)] == []


def test_compose_itself_accepts_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no docker with the plugin compose here")
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in FILLED.items()))
    command = [
        docker,
        "compose",
        "--file",
        str(FILE),
        "--env-file",
        str(tmp_path / ".env"),
        "config",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_explains_every_variable_and_no_other() -> None:
    asked, (required, optional) = (
        compose.Variables(FILE.read_text(encoding="utf-8")),
        compose.example(EXAMPLE),
    )
    assert required == asked.required
    assert optional == asked.optional


@pytest.mark.parametrize("name", sorted(FILLED))
def test_a_missing_value_is_named(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        compose.load(FILE, {**FILLED, name: ""})


def _in_airflow(tmp_path: Path, code: str, argument: object) -> None:
    """Run code, which finds `argument` in `given`, in a process with the settings that say which Airflow this is."""
    settings = {
        name: value
        for name, value in OURS["scheduler"]["environment"].items()
        if name in ("AIRFLOW__CORE__AUTH_MANAGER", "AIRFLOW__CORE__EXECUTOR")
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import json, sys\ngiven = json.loads(sys.argv[1])\n{code}",
            json.dumps(argument),
        ],
        env={**inherited, "AIRFLOW_HOME": str(tmp_path), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_airflow_setting_exists(tmp_path: Path) -> None:
    variables = {name for service in OURS.values() for name in service["environment"]}
    options = [
        name.removeprefix("AIRFLOW__").lower().split("__", 1)
        for name in variables
        if name.startswith("AIRFLOW__")
    ]
    # what Cosmos reads it does not declare
    code = """
from importlib.util import find_spec
from airflow.configuration import conf
cosmos = open(find_spec("cosmos.settings").origin).read()
for section, option in given:
    known = f'"{option}"' in cosmos if section == "cosmos" else option in conf.configuration_description[section]["options"]
    assert known, (section, option)
"""
    _in_airflow(tmp_path, code, options)


def test_airflow_understands_every_command(tmp_path: Path) -> None:
    """With the very flags, and with the executor and the auth manager that bring commands of their own."""
    commands = [
        command[1:] for service in OURS.values() if (command := _plain(service["command"]))[0] == "airflow"
    ]
    assert len(commands) == 7
    code = """
from airflow.api_fastapi.app import get_auth_manager_cls
from airflow.cli.cli_parser import get_parser
get_auth_manager_cls()
for command in given:
    assert callable(get_parser().parse_args(command).func), command
"""
    _in_airflow(tmp_path, code, commands)


def _plain(command: list[str]) -> list[str]:
    """A command without the shell that puts its variables in."""
    return command[2].removeprefix("exec ").split() if command[:2] == ["sh", "-c"] else command


def test_millrace_understands_its_commands() -> None:
    commands = [service["command"][1:] for service in OURS.values() if service["command"][0] == "millrace"]
    assert commands == [["warehouse", "init"]]
    for command in commands:
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0


def test_the_warehouse_is_given_a_password_for_each_role() -> None:
    given = OURS["warehouse-init"]["environment"]
    assert {f"{role.replace('millrace', 'warehouse').upper()}_PASSWORD" for role in ROLES} <= set(given)
    assert parse_connection("warehouse_admin", given["AIRFLOW_CONN_WAREHOUSE_ADMIN"]).host == "warehouse"


def test_workers_have_every_connection_that_a_contract_of_the_demo_names(tmp_path: Path) -> None:
    """Those of other contracts may be here as well, or in Airflow, or in a secrets backend."""
    contracts = own_sources.copied(tmp_path)
    sources, syncs = load_all(SourceContract, contracts), load_all(SyncContract, contracts)
    named = {source.connection for source in sources} | {sync.destination.connection for sync in syncs}
    for contract in (*sources, *syncs, *load_all(TransformContract, contracts)):
        named |= {*contract.alerts.channels, *contract.alerts.consumers}
    stages = {
        "landing",
        "warehouse_loader",
        "warehouse_transformer",
        "warehouse_activator",
        "warehouse_developer",
    }
    given = _connections("worker")
    missing = named - set(given)
    assert not missing, f"add a line for each of {missing} under x-connections, and to .env.example"
    assert stages <= set(given)
    for name, text in given.items():
        connection = parse_connection(name, text)
        assert connection.conn_type, name
        if name.startswith("warehouse_"):
            assert connection.login == name.replace("warehouse", "millrace")
    assert parse_connection("landing", given["landing"]).extra["bucket"] == "landing"


def _connections(service: str) -> dict[str, str]:
    prefix = "AIRFLOW_CONN_"
    settings = SERVICES[service].get("environment", {})
    return {name[len(prefix) :].lower(): text for name, text in settings.items() if name.startswith(prefix)}


def test_each_service_knows_no_more_than_it_must() -> None:
    alerts = {"alerts", "warehouse_developer"}
    allowed = {"dag-processor": alerts, "triggerer": alerts, "warehouse-init": {"warehouse_admin"}}
    for name, service in SERVICES.items():
        if name != "worker":
            assert set(_connections(name)) == allowed.get(name, set()), name
        settings, networks = set(service.get("environment", {})), set(service["networks"])
        knows_metadata = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in settings
        assert knows_metadata == ("metadata" in networks and name in OURS), name
    assert {name for name, service in SERVICES.items() if "landing" in service["networks"]} == {
        "store",
        "worker",
    }


def test_what_the_local_stack_sets_is_set_here_too(tmp_path: Path) -> None:
    """The same code with the same settings: what differs is named here."""
    here = {name for service in OURS.values() for name in service["environment"]}
    of_the_image = {"PATH", "PYTHONUNBUFFERED"}
    of_one_machine = {"MILLRACE_HOME", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}
    by_flags = {"AIRFLOW__API__HOST", "AIRFLOW__API__PORT"}
    for_people = {"AIRFLOW_CONN_WAREHOUSE_ANALYST"}
    assert set(environment(Home(tmp_path))) <= here | of_the_image | of_one_machine | by_flags | for_people
    assert all(f"{name}=" in IMAGE for name in of_the_image)


def test_services_are_hardened() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["logging"]["options"]["max-size"], name
        assert name in OURS or service["user"] not in ("", "root", "0"), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    last_user = re.findall(r"^USER (\w+)$", IMAGE, re.MULTILINE)[-1]
    assert last_user == "millrace"
    assert "env_file" not in FILE.read_text(encoding="utf-8"), "it would give all of .env to one service"


def test_services_start_in_order_and_say_how_they_are() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name not in ONCE), name
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how == {"condition": wanted}, f"{name} after {other}"
    volumes = {part.partition(":")[0] for service in SERVICES.values() for part in service.get("volumes", [])}
    assert volumes == set(compose.load(FILE, FILLED)["volumes"])


def test_versions_are_pinned_and_agree() -> None:
    images = {service["image"] for service in SERVICES.values()} | set(
        re.findall(r"^FROM (\S+)", IMAGE, re.M)
    )
    for image in images:
        assert re.fullmatch(r"[\w/]+:\d+\.\d+(\.\d+)?(-\w+)*", image), f"{image} is not pinned"
    (version,) = re.findall(r'^version = "(.+)"', PROJECT, re.MULTILINE)
    assert {service["image"] for service in OURS.values()} == {f"millrace:{version}"}
    local_postgres = re.search(r"pginstall(\d+)", Path(postgres.__file__).read_text(encoding="utf-8"))
    assert local_postgres is not None
    assert {image for image in images if image.startswith(f"postgres:{local_postgres[1]}.")}
    (python,) = re.findall(r"^FROM python:3\.(\d+)", IMAGE, re.MULTILINE)
    (low, high) = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', PROJECT)[0]
    assert int(low) <= int(python) < int(high)
