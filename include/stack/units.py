"""What the stack consists of: long-running services, and the steps between them that prepare the next ones.

Each unit starts as soon as all the units that it comes `after` are ready.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from include.stack import postgres, processes, s3
from include.stack.environment import process_environment
from include.stack.home import Home
from include.stack.ports import LOOPBACK
from include.stack.processes import Identity
from include.stack.secrets import write_private


@dataclass(frozen=True)
class Context:
    """What units need to know about the clone that they run for."""

    home: Home
    ports: dict[str, int]
    secrets: dict[str, str]


@dataclass(frozen=True)
class Launch:
    """A command with the options that subprocess.Popen needs for it."""

    command: list[str]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """A service (it has a health check) or a step (it runs to its end).

    `launch` may do quick preparations and returns None when there is nothing to run. `healthy` is asked with
    the time at which the service was started. `patience` is for the start, `grace` for the stop, in seconds.
    """

    name: str
    launch: Callable[[Context], Launch | None]
    after: tuple[str, ...] = ()
    healthy: Callable[[Context, float], bool] | None = None
    done: Callable[[Context], None] | None = None
    patience: float = 90
    stop_with: signal.Signals = signal.SIGTERM
    grace: float = 10


def _postgres(settings: dict[str, str] | None = None) -> Callable[[Context], Launch]:
    def launch(context: Context) -> Launch:
        who = postgres.initialise(context.home, context.secrets["POSTGRES_SUPERUSER_PASSWORD"])
        return Launch(postgres.server_command(who, context.ports["postgres"], settings), who.options())

    return launch


def _postgres_healthy(context: Context, _started: float) -> bool:
    superuser = postgres.conninfo(context.ports["postgres"], context.secrets["POSTGRES_SUPERUSER_PASSWORD"])
    try:
        psycopg.connect(superuser, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _s3(context: Context) -> Launch:
    keys = s3.server_environment(context.secrets["S3_ACCESS_KEY"], context.secrets["S3_SECRET_KEY"])
    return Launch(s3.server_command(context.ports["s3"], context.home.s3), {"env": keys})


def _contacts_api(context: Context) -> Launch:
    # the token comes by the environment: everybody may read a process list
    token = context.secrets["CONTACTS_API_TOKEN"]
    arguments = ["--port", str(context.ports["contacts-api"]), "--db", str(context.home.contacts_api_db)]
    return Launch(
        [sys.executable, "-m", "tests.support.contacts_api", *arguments],
        {"env": {**process_environment(context.home), "CONTACTS_API_TOKEN": token}},
    )


def _answers(service: str) -> Callable[[Context, float], bool]:
    def healthy(context: Context, _started: float) -> bool:
        try:
            urllib.request.urlopen(f"http://{LOOPBACK}:{context.ports[service]}/", timeout=2).close()
        except urllib.error.HTTPError:
            return True  # a refusal is an answer
        except OSError:
            return False
        return True

    return healthy


def _module(*arguments: str) -> Callable[[Context], Launch]:
    return lambda context: Launch(
        [sys.executable, "-m", *arguments], {"env": process_environment(context.home)}
    )


def _airflow(*arguments: str) -> Callable[[Context], Launch]:
    return _module("airflow", *arguments)


def _airflow_health(context: Context) -> dict[str, Any]:
    url = f"http://{LOOPBACK}:{context.ports['api-server']}/api/v2/monitor/health"
    try:
        # just after its start the server was seen to take three seconds over one answer
        with urllib.request.urlopen(url, timeout=15) as answer:
            health: dict[str, Any] = json.load(answer)
    except OSError:
        return {}
    return health


def _api_server_healthy(context: Context, _started: float) -> bool:
    return bool(_airflow_health(context).get("metadatabase", {}).get("status") == "healthy")


def _heartbeat(component: str) -> Callable[[Context, float], bool]:
    def healthy(context: Context, started: float) -> bool:
        report = _airflow_health(context).get(component, {})
        beat = report.get(f"latest_{component}_heartbeat")
        if report.get("status") != "healthy" or not beat:
            return False
        # the last beat of the process before this one does not count
        return datetime.fromisoformat(beat).astimezone(timezone.utc).timestamp() >= started

    return healthy


def _migrate(context: Context) -> Launch | None:
    passwords = json.dumps({"admin": context.secrets["AIRFLOW_ADMIN_PASSWORD"]})
    write_private(context.home.airflow / "passwords.json", passwords + "\n")
    stamp = context.home.airflow / "migrated"
    if stamp.exists() and stamp.read_text() == version("apache-airflow"):
        return None
    return _airflow("db", "migrate")(context)


def _migrated(context: Context) -> None:
    (context.home.airflow / "migrated").write_text(version("apache-airflow"))


def _dbt_sources(root: Path) -> Iterator[Path]:
    left_behind = {"target", "logs", "dbt_packages"}
    for path in sorted((root / "dbt_project").rglob("*")):
        if path.is_file() and not left_behind & set(path.relative_to(root / "dbt_project").parts):
            yield path


def _dbt_fingerprint(context: Context) -> str:
    digest = hashlib.sha256(version("dbt-core").encode())
    for path in _dbt_sources(context.home.root):
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _dbt_parse(context: Context) -> Launch | None:
    project = context.home.root / "dbt_project"
    stamp = context.home.path / "dbt_parsed"
    parsed = stamp.exists() and (project / "target" / "manifest.json").exists()
    if parsed and stamp.read_text() == _dbt_fingerprint(context):
        return None
    dbt = shutil.which("dbt", path=process_environment(context.home)["PATH"]) or "dbt"
    # the schemas that the DAG builds, not a developer's
    folders = ["--project-dir", str(project), "--profiles-dir", str(project)]
    command = [dbt, "parse", "--profile", "shop", "--target", "prod", *folders]
    return Launch(command, {"env": process_environment(context.home)})


def _dbt_parsed(context: Context) -> None:
    (context.home.path / "dbt_parsed").write_text(_dbt_fingerprint(context))


POSTGRES = Unit("postgres", _postgres(), healthy=_postgres_healthy, patience=60, stop_with=signal.SIGINT)
S3 = Unit("s3", _s3, healthy=_answers("s3"), patience=30)
ALL: tuple[Unit, ...] = (
    POSTGRES,
    S3,
    Unit("contacts-api", _contacts_api, healthy=_answers("contacts-api"), patience=30),
    Unit("databases", _module("include.stack.prepare"), after=("postgres",)),
    Unit("migrate", _migrate, after=("databases",), done=_migrated),
    Unit("dbt-parse", _dbt_parse, done=_dbt_parsed),
    Unit("api-server", _airflow("api-server"), after=("migrate",), healthy=_api_server_healthy),
    Unit(
        "scheduler",
        # the log servers listen on every address and on one fixed port; here everybody reads the files
        _airflow("scheduler", "--skip-serve-logs"),
        after=("migrate",),
        healthy=_heartbeat("scheduler"),
    ),
    Unit(
        "dag-processor",
        _airflow("dag-processor"),
        after=("migrate", "dbt-parse"),
        healthy=_heartbeat("dag_processor"),
    ),
    Unit(
        "triggerer",
        _airflow("triggerer", "--skip-serve-logs"),
        after=("migrate",),
        healthy=_heartbeat("triggerer"),
        # it takes ten seconds to go by itself; triggers resume wherever they are picked up next
        grace=1,
    ),
)
# what the user's settings reach
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
# what others build on: it stops last
BASE = ("postgres", "s3", "contacts-api")
PROFILES = {
    "all": ALL,
    # for tests that need a database and a store, and not their durability
    "throw-away": (replace(POSTGRES, launch=_postgres(postgres.THROW_AWAY)), S3),
}


def stop(running: dict[str, Identity], home: Home) -> None:
    """Stop these services all at once, those that others build on when the others are gone."""
    known = {unit.name: unit for unit in ALL}
    for base in (False, True):
        threads = [
            threading.Thread(
                target=processes.stop, args=(leader, home, known[name].stop_with, known[name].grace)
            )
            for name, leader in running.items()
            if (name in BASE) == base
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
