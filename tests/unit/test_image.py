"""The Dockerfile and .dockerignore against the project: what a build takes in, and what it must not."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from include.stack.home import PROJECT_ROOT

IMAGE = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (PROJECT_ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
LOCK = (PROJECT_ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_it_holds_what_it_runs_and_nothing_private() -> None:
    ignored = [line for line in _lines(PROJECT_ROOT / ".dockerignore") if not line.startswith("#")]
    needed = [
        "airflow.cfg",
        ".airflowignore",
        "pyproject.toml",
        "requirements.txt",
        "dags",
        "include",
        "plugins",
    ]
    for path in [*needed, "dbt_project/profiles.yml", "plugins/airflow_local_settings.py"]:
        assert (PROJECT_ROOT / path).exists(), path
        assert not _ignored(path, ignored), path
    for path in [".env", ".git", ".millrace", ".venv", "dbt_project/target", "include/__pycache__"]:
        assert _ignored(path, ignored), path
    for path in re.findall(r"/opt/millrace/([\w./]+)", COMPOSE):
        assert (PROJECT_ROOT / path).exists(), path
    assert "uv==" in LOCK
    assert re.search(r"^apache-airflow==", LOCK, re.MULTILINE)
    assert "requirements.txt" in IMAGE


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line]


def _ignored(path: str, patterns: list[str]) -> bool:
    """As docker does: a pattern that fits a folder covers what is in it; `**/` is any depth, none too."""
    above = [str(part) for part in (Path(path), *Path(path).parents)]
    return any(
        fnmatch.fnmatch(part, pattern) or fnmatch.fnmatch(f"/{part}", pattern.replace("**/", "*/"))
        for pattern in patterns
        for part in above
    )
