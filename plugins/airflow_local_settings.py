"""Airflow imports this module at the start of every process.

A task runs in a process forked from the scheduler's (or a Celery worker's). What is imported here, before the
fork, no task has to import again: the first seconds of each task that uses dbt, Great Expectations or Arrow.
dbt also parses its project here once: it compiles the readers and writers of its files when they are first used,
which took 1.0 of the 1.7 CPU seconds of each model's task.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

from airflow.configuration import conf

#: Libraries that talk while they work, between the lines of our steps. What goes wrong they still say. (Airflow's own
#: setting for this, namespace_levels, does not reach loggers of the standard library.)
_TALKATIVE = ("apprise", "cosmos", "great_expectations", "great_expectations.data_context.types.base")
_HEAVY = (
    "adbc_driver_postgresql",
    "airflow.providers.standard.decorators.sensor",
    "boto3",
    "cosmos.airflow.task_group",
    "cosmos.operators.local",
    "dbt.adapters.postgres",
    "dbt.cli.main",
    "dbt.task.build",
    "great_expectations",
    "great_expectations.expectations",
    "openlineage.common.provider.dbt.local",
    "psycopg",
    "pyarrow.parquet",
)

_DBT_PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"


def _warm_up_dbt() -> None:
    """Parse the dbt project without leaving anything behind. What goes wrong here, the tasks will say."""
    parsed = _DBT_PROJECT / "target" / "partial_parse.msgpack"
    if not parsed.is_file():
        return  # a parse from nothing takes longer than it saves
    from cosmos.dbt.runner import run_command

    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(parsed, folder)
        places = [
            "--project-dir",
            str(_DBT_PROJECT),
            "--profiles-dir",
            str(_DBT_PROJECT),
            "--target-path",
            folder,
        ]
        silence = ["--quiet", "--log-level-file", "none", "--log-path", folder]
        # the way in which Cosmos runs it in a task, so that exactly this is warm
        command = ["dbt", "parse", "--profile", "shop", "--target", "prod", *places, *silence]
        run_command(command, env={}, cwd=str(_DBT_PROJECT))


def _forks_tasks(command: list[str]) -> bool:
    """Whether the processes that run tasks are forked from this one."""
    if command[:1] == ["scheduler"]:
        return str(conf.get("core", "executor")) == "LocalExecutor"
    return command[:2] == ["celery", "worker"]


if _forks_tasks(sys.argv[1:]):
    # The standard provider imports a name from where Airflow has it no longer; else each task's log would say so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _name in _HEAVY:
            import_module(_name)
    _warm_up_dbt()

for _name in _TALKATIVE:
    logging.getLogger(_name).setLevel(logging.WARNING)
