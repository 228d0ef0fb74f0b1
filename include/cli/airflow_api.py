"""Airflow's REST API, as far as the command line needs it: trigger a run, follow it, show what failed.

https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from include.core.errors import TerminalError, Unreachable

if TYPE_CHECKING:
    from include.stack.home import Home

_POLL_SECONDS = 0.5
_DONE = ("success", "failed")


class AirflowApi:
    """A logged-in session. The address and the login are this clone's stack's, unless MILLRACE_URL, MILLRACE_USER and
    MILLRACE_PASSWORD name another server.

    :raises Unreachable: nobody answers. :raises TerminalError: the login or the request is refused.
    """

    def __init__(self, home: Home | None = None) -> None:
        from include.stack import secrets
        from include.stack.environment import ui_url
        from include.stack.home import Home

        home = home or Home.locate()
        self.url = os.environ.get("MILLRACE_URL") or ui_url(home)
        password = os.environ.get("MILLRACE_PASSWORD")
        if not password and not home.secrets_file.exists():
            raise Unreachable(
                "there is no stack here", where=str(home.path), todo="start it with `millrace up`"
            )
        if not password:
            password = secrets.load_or_create(home.secrets_file)["AIRFLOW_ADMIN_PASSWORD"]
        self._client = httpx.Client(base_url=self.url, timeout=30)
        login = {"username": os.environ.get("MILLRACE_USER", "admin"), "password": password}
        token = self.call("POST", "/auth/token", json=login)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def dag(self, dag_id: str) -> dict[str, Any]:
        """A DAG."""
        return dict(self._dags(f"/{quote(dag_id)}"))

    def dag_ids(self) -> set[str]:
        """The DAGs that Airflow knows (up to 1 000)."""
        return {dag["dag_id"] for dag in self._dags("", params={"limit": 1000})["dags"]}

    def wait_for_dags(self, wanted: set[str], patience: float = 60) -> None:
        """Return once Airflow knows these DAGs: after a start, or a new contract, it has files to read first.

        :raises TerminalError: it does not within `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while missing := wanted - self.dag_ids():
            if time.monotonic() > deadline:
                raise TerminalError(
                    "DAGs did not appear", where=self.url, received=f"without {', '.join(sorted(missing))}",
                    todo="see why: millrace airflow dags list-import-errors, millrace logs dag-processor",
                )  # fmt: skip
            time.sleep(_POLL_SECONDS)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run by hand. Returns its id."""
        run = self._dags(f"/{quote(dag_id)}/dagRuns", "POST", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def runs(self, dag_id: str, **filters: Any) -> list[dict[str, Any]]:
        """The newest runs of a DAG, newest first."""
        answer = self._dags(
            f"/{quote(dag_id)}/dagRuns", params={"order_by": "-run_after", "limit": 20, **filters}
        )
        return list(answer["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return dict(self._dags(f"/{quote(dag_id)}/dagRuns/{quote(run_id)}"))

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            answer = self._dags(path, params={"limit": 100, "offset": len(found)})
            found += answer["task_instances"]
            if len(found) >= answer["total_entries"] or not answer["task_instances"]:
                return found

    def run_caused_by(self, dag_id: str, upstream_run: str) -> dict[str, Any] | None:
        """The run of a DAG that an asset event of `upstream_run` started."""
        for run in self.runs(dag_id, run_type="asset_triggered"):
            path = f"/{quote(dag_id)}/dagRuns/{quote(run['dag_run_id'])}/upstreamAssetEvents"
            if any(event["source_run_id"] == upstream_run for event in self._dags(path)["asset_events"]):
                return run
        return None

    def log_tail(self, task: dict[str, Any], lines: int = 25) -> list[str]:
        """The last lines of a task's last attempt."""
        path = (
            f"/{quote(task['dag_id'])}/dagRuns/{quote(task['dag_run_id'])}/taskInstances/{quote(task['task_id'])}"
            f"/logs/{max(task['try_number'], 1)}"
        )
        answer = self._dags(path, params={"map_index": task["map_index"], "full_content": "true"})
        text: list[str] = []
        for entry in answer["content"]:
            # why a task was skipped is no part of what it says: "Skipping task."
            event = (
                entry if isinstance(entry, str) else f"{entry['event']} {entry.get('reason', '')}".rstrip()
            )
            text += [line for line in str(event).splitlines() if line.strip() and not line.startswith("::")]
            for detail in entry.get("error_detail") or () if isinstance(entry, dict) else ():
                text += f"{detail['exc_type']}: {detail['exc_value']}".splitlines()
        return text[-lines:]

    def follow(self, dag_id: str, run_id: str, say: Callable[[str], None]) -> str:
        """Say what happens in a run until it ends. Returns its state, `success` or `failed`."""
        told: dict[tuple[str, int], str] = {}
        while True:
            state = str(self.run(dag_id, run_id)["state"])
            for task in sorted(self.tasks(dag_id, run_id), key=lambda t: t["end_date"] or "9"):
                place = (task["task_id"], task["map_index"])
                if told.get(place) != task["state"] and task["state"] in _TOLD:
                    told[place] = task["state"]
                    say(f"  {_moment(task)}  {label(task):<44} {_TOLD[task['state']]}{_seconds(task)}")
            if state in _DONE:
                return state
            time.sleep(_POLL_SECONDS)

    def _dags(self, path: str, method: str = "GET", **arguments: Any) -> Any:
        return self.call(method, f"/api/v2/dags{path}", **arguments)

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Any other request; the arguments are httpx's. Returns the answer's JSON."""
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"Airflow does not answer: {error}",
                where=self.url,
                todo="start it with `millrace up`, see `millrace status`",
            ) from error
        if answer.is_error:
            try:
                detail = answer.json().get("detail", answer.text)
            except ValueError:
                detail = answer.text
            todo = "see which DAGs there are: millrace airflow dags list" if answer.status_code == 404 else ""
            raise TerminalError(
                f"Airflow answers {answer.status_code}: {detail}", where=f"{method} {path}", todo=todo
            )
        return answer.json()


_TOLD = {
    "success": "done",
    "failed": "FAILED",
    "skipped": "skipped",
    "upstream_failed": "not run",
    "up_for_retry": "failed, is tried again",
    "up_for_reschedule": "waits",
}


def label(task: dict[str, Any]) -> str:
    """How a task is called in the UI: its name, and for a mapped one what it is about."""
    if task["map_index"] < 0:
        return str(task["task_id"])
    return f"{task['task_id']}[{task['rendered_map_index'] or task['map_index']}]"


def _moment(task: dict[str, Any]) -> str:
    moment = datetime.fromisoformat(task["end_date"]) if task["end_date"] else datetime.now(timezone.utc)
    return f"{moment.astimezone():%H:%M:%S}"


def _seconds(task: dict[str, Any]) -> str:
    return (
        f" in {task['duration']:.1f} s" if task["duration"] and task["state"] in ("success", "failed") else ""
    )
