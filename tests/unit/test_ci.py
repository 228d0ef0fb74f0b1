"""The CI workflow against GitHub's schema and against the project: it asks for what exists, and lets nothing red through."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.stack.home import PROJECT_ROOT

WORKFLOW = PROJECT_ROOT / ".github" / "workflows" / "ci.yaml"
NIGHTLY = WORKFLOW.with_name("nightly.yaml")
ACTION = PROJECT_ROOT / ".github" / "actions" / "environment" / "action.yaml"
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")


def _steps() -> list[dict[str, Any]]:
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"]["steps"]
    jobs = [*JOBS.values(), *yaml.safe_load(NIGHTLY.read_text(encoding="utf-8"))["jobs"].values()]
    return [*action, *(step for job in jobs for step in job["steps"])]


@pytest.mark.parametrize(
    ("file", "name"),
    [(WORKFLOW, "github-workflows"), (NIGHTLY, "github-workflows"), (ACTION, "github-actions")],
)
def test_it_fits_githubs_schema(file: Path, name: str) -> None:
    schemas = pytest.importorskip("check_jsonschema", reason="carries the schemas of GitHub's workflows")
    import jsonschema

    path = Path(schemas.__file__).parent / "builtin_schemas" / "vendor" / f"{name}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    # YAML 1.1 takes the key `on` for a truth value
    document = {
        "on" if key is True else key: value for key, value in yaml.safe_load(file.read_text()).items()
    }
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(document)] == []


def test_every_make_target_exists() -> None:
    asked = {target for step in _steps() for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert {"setup", "lint", "test-fast", "test", "test-long"} <= asked
    assert asked <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_fast_tests_check_the_dags() -> None:
    assert re.search(r"^test-fast:.*\bcheck-dags\b", MAKEFILE, re.MULTILINE)


def test_the_whole_suite_leaves_out_nothing_but_what_it_says() -> None:
    steps = JOBS["all"]["steps"]
    (suite,) = [step for step in steps if step.get("run") == "make test"]
    assert suite["env"] == {"TESTS_REQUIRE": "chromium,mariadb"}  # which are there:
    for install in ("playwright install --with-deps chromium", "apt-get install -y -qq mariadb-server"):
        assert steps.index(suite) > next(
            number for number, step in enumerate(steps) if install in step.get("run", "")
        )


def test_every_file_that_a_step_names_exists() -> None:
    for step in _steps():
        if step.get("uses", "").startswith("./"):
            assert (PROJECT_ROOT / step["uses"] / "action.yaml").exists()
        for program in re.findall(r"(\.venv/bin/\w+)", step.get("run", "")):
            assert program == ".venv/bin/python", "what `make setup` certainly makes"
        for path in re.findall(r"hashFiles\('([^']+)'\)", json.dumps(step)):
            assert (PROJECT_ROOT / path).exists()


def test_fast_tests_run_on_the_oldest_and_the_newest_python() -> None:
    project = (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ((low, beyond),) = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project)
    assert JOBS["fast"]["strategy"]["matrix"]["python"] == [f"3.{low}", f"3.{int(beyond) - 1}"]


def test_a_deploy_is_allowed_only_when_everything_else_has_succeeded() -> None:
    gate = JOBS["deploy-allowed"]
    others = sorted(set(JOBS) - {"deploy-allowed"})
    assert sorted(gate["needs"]) == others
    # without this a job that was skipped or has failed would leave the gate out, which branch protection takes for green
    assert gate["if"] == "always()"
    (step,) = gate["steps"]
    assert step["env"]["RESULTS"] == "${{ join(needs.*.result, ' ') }}"
    assert " ".join(["success"] * len(others)) in step["run"]


def test_others_may_read_and_nothing_runs_for_ever() -> None:
    assert yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in JOBS.values())
