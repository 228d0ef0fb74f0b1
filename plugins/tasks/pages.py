"""Links from tasks to pages: to what an audit or a gate has found, and to what the models are."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.decorator import task_decorator_factory
from airflow.sdk.configuration import conf

#: Where the api-server serves the pages (data_docs.py).
PREFIX = "/data-docs"


def run_page(dag_id: str, run_id: str) -> str:
    """Where the verdicts of a run are shown."""
    return f"{base_path()}{PREFIX}/{dag_id}/runs/{quote(run_id, safe='')}"


def models_page(dag_id: str) -> str:
    """Where the models are shown."""
    return f"{base_path()}{PREFIX}/{dag_id}/models"


def base_path() -> str:
    """What stands before every path of the UI. The host is the reader's own: not all reach Airflow by the same name."""
    base: str = conf.get("api", "base_url", fallback="")
    return urlsplit(base).path.rstrip("/")


class DataDocs(BaseOperatorLink):
    """What this task has found."""

    name = "Data Docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Of a mapped task that judges one table, to that table."""
        table = getattr(ti_key, "rendered_map_index", None) or ""
        anchor = f"#{quote(table)}" if "." in table else ""
        return run_page(ti_key.dag_id, ti_key.run_id) + anchor


class ModelDocs(BaseOperatorLink):
    """What the models are that this task has published."""

    name = "Models"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """One page for all models."""
        return models_page(ti_key.dag_id)


class _Judges(_PythonDecoratedOperator):
    operator_extra_links = (DataDocs(),)


class _Publishes(_PythonDecoratedOperator):
    operator_extra_links = (DataDocs(), ModelDocs())


#: `@task`, with a link to what it has found.
task_that_judges = partial(task_decorator_factory, decorated_operator_class=_Judges)
#: `@task`, with links to what the gate has found, and to the models.
task_that_publishes_models = partial(task_decorator_factory, decorated_operator_class=_Publishes)
