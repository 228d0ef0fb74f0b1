"""The pages that belong to runs, as the api-server serves them: verdicts of audits and gates, and the docs of the models.

Whoever may read the logs of a DAG may read its pages; who has not logged in is asked to. The pages come from the warehouse,
so any api-server shows what any worker has found, and load nothing from anywhere else, which their headers also forbid.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Path, Request, Response, status
from fastapi.responses import HTMLResponse, RedirectResponse

from plugins.tasks import pages
from plugins.tasks.context import connect

_MAY_READ = Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))
#: A page of ours has no script; that of the models is one, with all that it needs in itself.
_NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'"
_OWN_SCRIPT = f"{_NO_SCRIPT}; script-src 'unsafe-inline' 'unsafe-eval'; img-src data:; font-src data:"

app = FastAPI(
    title="Data Docs", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)]
)
_DagId = Annotated[str, Path(pattern="^(ingest|transform)__[a-z0-9_]+$")]


@app.exception_handler(status.HTTP_401_UNAUTHORIZED)
def log_in_first(request: Request, _error: Exception) -> Response:
    """Back to this page, once somebody has logged in."""
    wanted = quote(str(request.url), safe="")
    return RedirectResponse(f"{pages.base_path()}/api/v2/auth/login?next={wanted}", status.HTTP_303_SEE_OTHER)


@app.get("/{dag_id}/runs/{run_id:path}", dependencies=[_MAY_READ])
def verdicts(dag_id: _DagId, run_id: str) -> Response:
    """The verdicts of a run, a table at a time."""
    from include.flows import data_docs

    kind, _, name = dag_id.partition("__")
    links = {"The run": f"{pages.base_path()}/dags/{dag_id}/runs/{quote(run_id, safe='')}"}
    if kind == "transform":
        links["Models"] = pages.models_page(dag_id)
    page = data_docs.page(connect, kind, name, run_id, links)
    return _answer(page, "Nothing of this run was judged.", _NO_SCRIPT)


@app.get("/{dag_id}/models", dependencies=[_MAY_READ])
def models(dag_id: _DagId) -> Response:
    """The docs of all models, as dbt writes them."""
    from include.flows import model_docs

    page = model_docs.page(connect)
    return _answer(page, "The docs of the models are not written yet: the DAG maintain does it.", _OWN_SCRIPT)


def _answer(page: str | None, otherwise: str, policy: str) -> Response:
    if page is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, otherwise)
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
    }
    return HTMLResponse(page, headers=headers)
