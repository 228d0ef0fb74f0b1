"""The variables that every process of a clone gets: services, tasks, the command line and dbt alike.

What `environment` returns is the only place where the local stack's hosts, ports, paths and secrets become
settings. On a server the compose file gives the same variables.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from include.stack import databases, ports, s3, secrets
from include.stack.home import Home
from include.stack.ports import LOOPBACK

# the role behind each connection to Postgres: the least that its stage needs
_CONNECTIONS = {
    "shop": "shop_reader",
    "crm": "crm_writer",
    "warehouse_loader": "millrace_loader",
    "warehouse_transformer": "millrace_transformer",
    "warehouse_activator": "millrace_activator",
    "warehouse_developer": "millrace_developer",
    "warehouse_analyst": "millrace_analyst",
}
# settings of another Airflow, or of a shell's habits, that would reach our processes by accident
_FOREIGN = (
    "AIRFLOW__",
    "AIRFLOW_HOME",
    "AIRFLOW_CONFIG",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
)


def environment(home: Home | None = None) -> dict[str, str]:
    """The variables of this clone, the user's `.env` on top. Generates missing secrets."""
    home = home or Home.locate()
    keys = secrets.load_or_create(home.secrets_file)
    numbers = ports.remembered(home.ports_file)
    return {
        **_general(home),
        **_airflow(home, numbers, keys),
        **_connections(home, numbers, keys),
        **_dbt(numbers, keys),
        **secrets.read_env_file(home.env_file),
    }


def process_environment(home: Home | None = None) -> dict[str, str]:
    """All variables of a child process: this shell's, without another Airflow's, and ours on top."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**inherited, **environment(home)}


def ui_url(home: Home) -> str:
    """Where the web UI is."""
    return f"http://{LOOPBACK}:{ports.remembered(home.ports_file)['api-server']}"


def _general(home: Home) -> dict[str, str]:
    # the environment's own programs first: tasks start dbt by name
    scripts = str(Path(sys.executable).parent)
    search = [scripts, *(p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p != scripts)]
    return {
        "MILLRACE_HOME": str(home.path),
        "PATH": os.pathsep.join(search),
        "PYTHONPATH": str(home.root),
        "PYTHONUNBUFFERED": "1",
        "GX_ANALYTICS_ENABLED": "False",
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }


def _airflow(home: Home, numbers: dict[str, int], keys: dict[str, str]) -> dict[str, str]:
    base = f"http://{LOOPBACK}:{numbers['api-server']}"
    metadata = databases.conninfo("airflow", numbers["postgres"], keys).removeprefix("postgresql://")
    bundle = {
        "name": "millrace",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(home.root)},
    }
    settings = {
        "CORE__PLUGINS_FOLDER": str(home.root / "plugins"),
        "CORE__FERNET_KEY": keys["AIRFLOW_FERNET_KEY"],
        "CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.airflow / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{metadata}",
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{metadata}",
        "LOGGING__BASE_LOG_FOLDER": str(home.airflow / "logs"),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home.airflow / "logs" / "dag_processor"),
        "API__HOST": LOOPBACK,
        "API__PORT": str(numbers["api-server"]),
        "API__BASE_URL": ui_url(home),
        "API__SECRET_KEY": keys["AIRFLOW_SECRET_KEY"],
        "API_AUTH__JWT_SECRET": keys["AIRFLOW_JWT_SECRET"],
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home.airflow / "bundles"),
        # its default is one folder for everybody on the machine
        "COSMOS__CACHE_DIR": str(home.airflow / "cosmos"),
    }
    return {
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONFIG": str(home.root / "airflow.cfg"),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def _connections(home: Home, numbers: dict[str, int], keys: dict[str, str]) -> dict[str, str]:
    uris = {name: databases.conninfo(role, numbers["postgres"], keys) for name, role in _CONNECTIONS.items()}
    store = {
        "conn_type": "aws",
        "login": keys["S3_ACCESS_KEY"],
        "password": keys["S3_SECRET_KEY"],
        "extra": {
            "endpoint_url": s3.endpoint(numbers["s3"]),
            "bucket": s3.BUCKET,
            "region_name": "us-east-1",
        },
    }
    alerts = {"conn_type": "apprise", "extra": {"config": {"path": f"alertlog://{home.path}/alerts.log"}}}
    uris |= {
        "landing": json.dumps(store),
        "contacts_api": f"http://:{keys['CONTACTS_API_TOKEN']}@{LOOPBACK}:{numbers['contacts-api']}",
        "alerts": json.dumps(alerts),
    }
    return {f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in uris.items()}


def _dbt(numbers: dict[str, int], keys: dict[str, str]) -> dict[str, str]:
    return {
        "WAREHOUSE_HOST": LOOPBACK,
        "WAREHOUSE_PORT": str(numbers["postgres"]),
        "WAREHOUSE_DBNAME": "warehouse",
        "WAREHOUSE_TRANSFORMER_PASSWORD": keys["WAREHOUSE_TRANSFORMER_PASSWORD"],
        "WAREHOUSE_DEVELOPER_PASSWORD": keys["WAREHOUSE_DEVELOPER_PASSWORD"],
    }
