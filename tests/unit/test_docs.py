"""What the docs name is there: files, headings, make targets, commands and their options, DAGs, tables, tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from include.activation.schema import STATE_DDL
from include.cli.main import app
from include.core.contracts import SourceContract, SyncContract, TransformContract, load_all
from include.stack.home import PROJECT_ROOT
from tests.dags.policy import OPTIONAL, WAY

DOCS = [
    *(PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((PROJECT_ROOT / "docs").rglob("*.md")),
]
DECISIONS = sorted((PROJECT_ROOT / "docs" / "decisions").glob("[0-9]*.md"))
#: Names that stand for the reader's own.
_PLACEHOLDER = re.compile(r"NAME|NNNN|my_db|[<>*{}…]|\$")
_TOP = ("dags", "plugins", "include", "dbt_project", "tests", "docs", ".github")
#: Other people's pages that the docs may point to.
_HOSTS = {
    "airflow.apache.org",
    "api.example.com",
    "docs.getdbt.com",
    "docs.greatexpectations.io",
    "github.com",
    "semver.org",
    "www.postgresql.org",
    "127.0.0.1",
    "localhost",
}
#: A folder that exists on somebody's machine only.
_MACHINE = re.compile(r"(?<![\w.:/])/(?:tmp|work|root|home|Users|opt|mnt)/")

each_doc = pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))


class Code(NamedTuple):
    """A piece of code in a page: a whole command line of a block, or what stands between backticks."""

    line: int
    text: str


@cache
def code(doc: Path) -> tuple[Code, ...]:
    return tuple(_code(doc.read_text(encoding="utf-8").splitlines()))


def _code(lines: list[str]) -> Iterator[Code]:
    fenced = False
    for number, line in enumerate(lines, start=1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield Code(number, line.strip())
        else:
            yield from (Code(number, text) for text in re.findall(r"`([^`]+)`", line))


def _slugs(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_doc
def test_every_link_leads_somewhere(doc: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", doc.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        page = (doc.parent / path).resolve() if path else doc
        if not page.exists() or (heading and heading not in _slugs(page)):
            broken.append(target)
    assert broken == []


@each_doc
def test_every_file_named_exists(doc: Path) -> None:
    missing = []
    for line, text in code(doc):
        for path in re.findall(r"(?<![\w./])((?:[\w.<>*{}…-]+/)+[\w.<>*{}…-]*)", text):
            if path.split("/")[0] not in _TOP or _PLACEHOLDER.search(path) or "/target" in path:
                continue
            if not (PROJECT_ROOT / path).exists():
                missing.append(f"{line}: {path}")
    assert missing == []


@each_doc
def test_every_make_target_exists(doc: Path) -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {name for _, text in code(doc) for name in re.findall(r"\bmake ([a-z][a-z-]*)", text)}
    assert named <= targets


def _unknown(words: list[str]) -> str:
    """What the command line does not know of `millrace WORDS`; nothing when it knows all."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            free = command.context_settings.get("ignore_unknown_options")
            known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            if not free and word.partition("=")[0] not in known | {"--help"}:
                return f"{command.name}: {word}"
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return f"{command.name}: {word}"
            command = command.commands[word]
    return ""


@each_doc
def test_every_command_exists_with_its_options(doc: Path) -> None:
    wrong = []
    for line, text in code(doc):
        for call in re.findall(r"(?:^|\bbin/|; |\| )millrace((?: [^\s;|#>]+)+)", text):
            # what stands in quotes is a value, and a value is no command
            words = re.sub(r"'[^']*'|\"[^\"]*\"", "…", call).split()
            unknown = _unknown([word for word in words if word != "…"])
            if unknown:
                wrong.append(f"{line}: {unknown}")
    assert wrong == []


@each_doc
def test_every_dag_named_is_made_by_a_contract(doc: Path) -> None:
    dags = {
        *(f"ingest__{contract.source}" for contract in load_all(SourceContract)),
        *(f"transform__{contract.transform}" for contract in load_all(TransformContract)),
        *(f"activate__{contract.sync}" for contract in load_all(SyncContract)),
    }
    named = {
        match
        for _, text in code(doc)
        for match in re.findall(r"\b(?:ingest|transform|activate)__[a-zA-Z][\w]*", text)
        if not _PLACEHOLDER.search(match)
    }
    assert named <= dags


def test_the_tasks_of_an_ingest_are_all_described() -> None:
    graph = json.loads((PROJECT_ROOT / "tests" / "dags" / "graph.json").read_text(encoding="utf-8"))
    chapter = (PROJECT_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)(?:\[streams\])?` \|", chapter.partition("### Ingest\n")[2].partition("\n### ")[0], re.M
    )
    assert set(rows) == {
        *graph["ingest__shop"]["tasks"],
        *(step for step in OPTIONAL if step in WAY["ingest"]),
    }


def _tables() -> dict[str, set[str]]:
    ledger = (PROJECT_ROOT / "include" / "warehouse" / "ledger.sql").read_text(encoding="utf-8") + STATE_DDL
    models = PROJECT_ROOT / "dbt_project" / "models"
    tables = {
        "ledger": set(re.findall(r"create table if not exists ledger\.(\w+)", ledger)),
        "crm": {"contacts"},
        **{layer: {p.stem for p in (models / layer).glob("*.sql")} for layer in ("marts", "activation")},
    }
    for contract in load_all(SourceContract):
        tables[contract.raw_schema] = {stream.name for stream in contract.streams}
    return tables


@each_doc
def test_every_table_named_exists(doc: Path) -> None:
    tables = _tables()
    named = re.compile(rf"(?<![\w.]){'(' + '|'.join(tables) + ')'}\.([a-z]\w*)\b(?!\.)")
    wrong = [
        f"{line}: {schema}.{table}"
        for line, text in code(doc)
        if "/" not in text
        for schema, table in named.findall(text)
        if table not in tables[schema]
    ]
    assert wrong == []


@each_doc
def test_every_test_named_exists(doc: Path) -> None:
    defined = {
        name
        for path in (PROJECT_ROOT / "tests").rglob("test_*.py")
        for name in (
            path.stem,
            *re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.M),
        )
    }
    named = {name for _, text in code(doc) for name in re.findall(r"\btest_\w+", text)}
    assert named <= defined


@each_doc
def test_nothing_belongs_to_one_machine(doc: Path) -> None:
    text = doc.read_text(encoding="utf-8")
    assert _MACHINE.findall(text) == []
    assert set(re.findall(r"https?://(?:[^/\s@]*@)?([\w.-]+)", text)) <= _HOSTS


def test_decisions_are_numbered_listed_and_say_what_they_cost() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    listed = (DECISIONS[0].parent / "README.md").read_text(encoding="utf-8")
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert title.startswith(f"{path.name[:4]}: ")
        assert f"| [{path.name[:4]}]({path.name}) | {title[6:]} |" in listed
        assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "What we gave up"]
