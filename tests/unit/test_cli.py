"""The command line explains itself, quickly, and fails with a message instead of a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from include.cli.main import app
from include.stack.home import PROJECT_ROOT


def _millrace(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "include.cli", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, "MILLRACE_HOME": str(home), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_help_names_every_command_and_each_explains_itself() -> None:
    runner = CliRunner()
    listing = runner.invoke(app, ["--help"]).output
    for command in ("up", "down", "status", "logs", "reset", "psql", "dbt", "airflow"):
        assert f"│ {command} " in listing
    for command in ("up", "down", "status", "logs", "reset", "psql"):
        explained = runner.invoke(app, [command, "--help"])
        assert (explained.exit_code, "Usage:" in explained.output) == (0, True)


def test_help_loads_nothing_heavy() -> None:
    listing = "import sys, include.cli.main; print('\\n'.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", listing], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    heavy = {
        "airflow",
        "dbt",
        "great_expectations",
        "pyarrow",
        "boto3",
        "psycopg",
        "pandas",
        "psutil",
        "aiohttp",
    }
    assert heavy.isdisjoint(loaded)


def test_nothing_runs_yet(tmp_path: Path) -> None:
    home = tmp_path / "home"
    status = _millrace("status", home=home)
    assert (status.returncode, "millrace up" in status.stdout) == (1, True)
    psql = _millrace("psql", "shop", home=home)
    assert psql.returncode == 1
    assert psql.stderr.splitlines() == [
        "the local stack is not running",
        "  what to do: start it with `millrace up`",
    ]
    assert _millrace("down", home=home).returncode == 0
    assert not home.exists()


def test_reset_deletes_only_after_a_yes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert _millrace("reset", home=home).returncode != 0
    assert home.exists()
    assert _millrace("reset", "--yes", home=home).returncode == 0
    assert not home.exists()
