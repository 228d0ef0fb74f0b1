"""Pages that belong to runs, beside the UI: plugins/tasks/data_docs.py has them."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from plugins.tasks.pages import PREFIX


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Imported with the first request: every process of Airflow loads this file, and only the api-server serves pages."""
    from plugins.tasks.data_docs import app as pages

    await pages(scope, receive, send)


class DataDocs(AirflowPlugin):
    """Loaded by the api-server, which serves them."""

    name = "data_docs"
    fastapi_apps = ({"app": app, "url_prefix": PREFIX, "name": "Data Docs"},)
