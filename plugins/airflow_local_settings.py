"""Airflow imports this module at the start of every process.

A task runs in a process forked from the scheduler's (or a Celery worker's). What is imported here, before the
fork, no task has to import again: the first seconds of each task that uses dbt, Great Expectations or Arrow.
"""

from __future__ import annotations

import logging
import sys
import warnings
from importlib import import_module

#: Libraries that talk while they work, between the lines of our steps. What goes wrong they still say. (Airflow's own
#: setting for this, namespace_levels, does not reach loggers of the standard library.)
_TALKATIVE = ("apprise", "cosmos", "great_expectations", "great_expectations.data_context.types.base")
_FORKS_TASKS = (["scheduler"], ["celery", "worker"])
_HEAVY = (
    "adbc_driver_postgresql.dbapi",
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

if any(sys.argv[1 : 1 + len(command)] == command for command in _FORKS_TASKS):
    # The standard provider imports a name from where Airflow has it no longer; else each task's log would say so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _name in _HEAVY:
            import_module(_name)

for _name in _TALKATIVE:
    logging.getLogger(_name).setLevel(logging.WARNING)
