"""What CI asks before a deploy: every DAG loads, can be run by people who did not write it, and is there on purpose."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from include.core.contracts.load import KINDS, contract_files
from include.stack.home import PROJECT_ROOT
from tests.dags import policy
from tests.dags.conftest import Parse, Report

GRAPH = Path(__file__).with_name("graph.json")
_DAG_KIND = {"sources": "ingest", "transforms": "transform", "syncs": "activate"}


def _contract_dags() -> set[str]:
    return {
        f"{_DAG_KIND[folder]}__{path.stem}"
        for kind, (folder, _) in KINDS.items()
        for path in contract_files(kind)
    }


def test_every_dag_file_loads(report: Report) -> None:
    """No import error; and with that no cycle and no id used twice: Airflow reports both as one."""
    assert not report["import_errors"], "\n\n".join(report["import_errors"].values())


def test_dag_files_are_in_dags_and_nowhere_else(report: Report) -> None:
    files = {file["file"] for file in report["files"]}
    assert files == {f"dags/{path.name}" for path in (PROJECT_ROOT / "dags").glob("*.py")}


def test_every_contract_has_its_dag(report: Report) -> None:
    assert _contract_dags() <= set(report["dags"])


def test_every_dag_can_be_run_by_people_who_did_not_write_it(report: Report) -> None:
    wrong = {dag_id: found for dag_id, dag in report["dags"].items() if (found := policy.faults(dag_id, dag))}
    assert not wrong, json.dumps(wrong, indent=1)


def test_parsing_does_nothing_but_define_dags(report: Report) -> None:
    wrong = {file["file"]: found for file in report["files"] if (found := policy.side_effects(file))}
    assert not wrong, json.dumps(wrong, indent=1)


def test_parsing_needs_no_database(report: Report) -> None:
    assert not report["databases"], "a database was made below AIRFLOW_HOME"


def test_parsing_is_cheap(report: Report) -> None:
    for file, again in zip(report["files"], report["again"], strict=True):
        print(f"{file['file']}: {file['cpu']} s, {file['modules']} modules; again {again['cpu']} s")
    print(f"Airflow and Cosmos: {report['baseline']['cpu']} s, {report['baseline']['modules']} modules")
    assert not (found := policy.over_budget(report)), "\n".join(found)


def test_the_graph_of_all_dags_is_the_one_that_was_agreed(
    report: Report, request: pytest.FixtureRequest
) -> None:
    """A change of schedules, tasks, edges, trigger rules or assets shows in review, as a change of graph.json."""
    graph = {dag_id: dag["graph"] for dag_id, dag in report["dags"].items()}
    now = json.dumps(graph, indent=1, sort_keys=True) + "\n"
    if request.config.getoption("--update-snapshot", default=False):
        GRAPH.write_text(now, encoding="utf-8")
    agreed = GRAPH.read_text(encoding="utf-8") if GRAPH.exists() else ""
    difference = difflib.unified_diff(
        agreed.splitlines(), now.splitlines(), "agreed", "now", lineterm="", n=6
    )
    assert agreed == now, "\n".join(
        [
            "The graph of the DAGs has changed:",
            *difference,
            "If that is meant: make check-dags ARGS=--update-snapshot, and commit tests/dags/graph.json.",
        ]
    )


def test_a_contract_with_faults_becomes_a_dag_that_shows_them(
    report: Report, parse: Parse, tmp_path: Path
) -> None:
    """It fails when its pipeline was due. All others load as before, and a second process makes no new DAG versions."""
    contracts = tmp_path / "contracts"
    shutil.copytree(PROJECT_ROOT / "include" / "contracts", contracts)
    for kind, (folder, name) in KINDS.items():
        text = contract_files(kind, contracts)[0].read_text(encoding="utf-8")
        broken = text.replace("\ndescription:", "\ndescriptoin:").replace(f"\n{name}: ", f"\n{name}: not_")
        (contracts / folder / "faulty.yaml").write_text(broken, encoding="utf-8")
        (contracts / folder / "no_yaml.yaml").write_text("\t{", encoding="utf-8")
    second = parse(MILLRACE_CONTRACTS=str(contracts))
    assert not second["import_errors"]
    new = {dag_id: dag for dag_id, dag in second["dags"].items() if dag_id not in report["dags"]}
    broken_as = {"faulty": "descriptoin", "no_yaml": "is not YAML"}
    assert set(new) == {f"{kind}__{name}" for kind in _DAG_KIND.values() for name in broken_as}
    for dag_id, dag in new.items():
        assert "broken contract" in dag["tags"]
        assert broken_as[dag_id.partition("__")[2]] in dag["doc_md"]
        (task,) = dag["tasks"].values()
        assert (task["alerts"], task["retries"], dag["catchup"]) == (["FailureAlert"], 0, False)
    for dag_id, healthy in (
        ("ingest__faulty", "ingest__shop"),
        ("transform__faulty", "transform__shop"),
        ("activate__faulty", "activate__crm_contacts"),
        # where nothing can be read: every hour, as the shop's ingest
        *((f"{kind}__no_yaml", "ingest__shop") for kind in _DAG_KIND.values()),
    ):
        assert _due(new[dag_id]) == _due(report["dags"][healthy]), dag_id
    before = {dag_id: dag["version"] for dag_id, dag in report["dags"].items()}
    assert before == {dag_id: second["dags"][dag_id]["version"] for dag_id in before}
    assert not policy.over_budget(second)


def _due(dag: Report) -> tuple[Any, Any]:
    return dag["graph"]["schedule"], dag["graph"]["starts_after"]


def test_a_transform_gates_what_its_contract_selects_with_or_without_a_suite(
    report: Report, parse: Parse, dbt_manifest: Path, tmp_path: Path
) -> None:
    _copy_of_the_project(tmp_path)
    manifest = json.loads(dbt_manifest.read_text(encoding="utf-8"))
    new = json.dumps(manifest["nodes"]["model.shop.fct_orders"]).replace("fct_orders", "fct_new")
    manifest["nodes"]["model.shop.fct_new"] = json.loads(new)
    (tmp_path / "dbt_project" / "target").mkdir()
    (tmp_path / "dbt_project" / "target" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    contract = tmp_path / "include" / "contracts" / "transforms" / "shop.yaml"
    text = contract.read_text(encoding="utf-8").replace("\nselect:", "\nexclude: [fct_web_sessions]\nselect:")
    # a time of day, which Airflow knows nothing of
    text = text.replace("  after_queueing: 30m\n", '  at: "10:00 Europe/Berlin"\n')
    contract.write_text(text, encoding="utf-8")

    changed = parse(tmp_path)
    assert not changed["import_errors"]
    before, now = (
        found["dags"]["transform__shop"]["graph"]["tasks"]["gate"]["mapped"] for found in (report, changed)
    )
    assert set(now) == {*before, "marts.fct_new"} - {"marts.fct_web_sessions"}
    assert changed["dags"]["transform__shop"]["deadlines"] == 0
    assert policy.faults("transform__shop", changed["dags"]["transform__shop"]) == []


def test_without_a_dbt_manifest_only_transforms_are_missing(
    report: Report, parse: Parse, tmp_path: Path
) -> None:
    _copy_of_the_project(tmp_path)
    without = parse(tmp_path)
    assert set(without["import_errors"]) == {"dags/transform.py"}
    assert "manifest.json" in without["import_errors"]["dags/transform.py"]
    assert set(without["dags"]) == {name for name in report["dags"] if not name.startswith("transform__")}


def _copy_of_the_project(folder: Path) -> None:
    """All that DAGs are made of, without what dbt has written."""
    for name in ("dags", "plugins", "include", "dbt_project"):
        shutil.copytree(
            PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("target", "__pycache__")
        )
    shutil.copy(PROJECT_ROOT / ".airflowignore", folder)
