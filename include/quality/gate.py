"""Running expectations on one table of the warehouse.

Great Expectations is imported inside functions: it costs seconds, and only a process that audits should pay them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from include.core.connection import Connection
from include.core.errors import GateFailed, TerminalError, Unreachable
from include.core.quoting import identifier
from include.quality import in_sql

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

#: Rows shown of each failing expectation.
EXAMPLES = 5


@dataclass(frozen=True)
class Failure:
    """One expectation that did not hold. `examples` are rows: their key, and the value where it is not personal data.
    `chart` shows how its figure came about, as a line of text."""

    rule: str
    severity: str
    unexpected: int | None
    checked: int | None
    examples: tuple[dict[str, Any], ...]
    observed: str
    chart: str = ""

    def __str__(self) -> str:
        share = f": {self.unexpected} of {self.checked} rows" if self.unexpected is not None else ""
        observed = f" (observed {self.observed})" if self.observed else ""
        examples = "".join(f"\n      {example}" for example in self.examples)
        chart = f"\n      {self.chart}" if self.chart else ""
        return f"[{self.severity}] {self.rule}{share}{observed}{examples}{chart}"


@dataclass(frozen=True)
class Rule:
    """One expectation that was asked, whether it held or not; `why` is what its suite says of it (`meta`)."""

    rule: str
    severity: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """What an audit found. It passes when nothing critical failed. `key` are the columns that tell rows apart."""

    table: str
    expectations: int
    failures: tuple[Failure, ...]
    asked: tuple[Rule, ...] = ()
    key: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not any(failure.severity == "critical" for failure in self.failures)

    @property
    def warnings(self) -> tuple[Failure, ...]:
        """What failed and stops nothing, but is to be told: also that rows were set aside."""
        return tuple(failure for failure in self.failures if failure.severity in ("warning", "quarantine"))

    @property
    def cause(self) -> str:
        """The table and the rules that failed, without counts and examples."""
        return f"{self.table}: {'; '.join(sorted(failure.rule for failure in self.failures))}"

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(failure) for failure in self.failures]

    def asked_json(self) -> dict[str, Any]:
        """What was asked, for the page that shows it."""
        return {"key": list(self.key), "rules": [asdict(rule) for rule in self.asked]}

    def __str__(self) -> str:
        word = "passed" if self.passed else "FAILED"
        lines = [
            f"{self.table}: {word}, {self.expectations - len(self.failures)} of {self.expectations} expectations hold"
        ]
        return "\n    ".join([*lines, *map(str, self.failures)])


def demand(verdicts: Sequence[Verdict], todo: str) -> None:
    """Nothing when every audit passed.

    :raises GateFailed: with the tables that did not pass, every failing expectation, and examples of rows.
    """
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        raise GateFailed(
            "the audit found what must not be published",
            where=", ".join(verdict.table for verdict in failed),
            received="\n".join(map(str, failed)),
            allowed="no failing expectation of severity critical",
            todo=todo,
            causes=[verdict.cause for verdict in failed],
        )


def audit(
    connection: Connection,
    schema: str,
    table: str,
    expectations: Sequence[Expectation],
    *,
    key: tuple[str, ...] = (),
    personal: frozenset[str] = frozenset(),
) -> Verdict:
    """Check one table.

    :param key: columns that identify a row in examples. :param personal: columns whose values are never shown.
    :raises TerminalError: an expectation could not be evaluated at all, such as one on a column that is not there.
    """
    name = f"{schema}.{table}"
    if not expectations:
        return Verdict(name, 0, (), key=key)
    import great_expectations.expectations as gxe

    with _batch(connection, schema, table) as batch:
        queries = [e for e in expectations if isinstance(e, gxe.UnexpectedRowsExpectation)]
        others = [e for e in expectations if not isinstance(e, gxe.UnexpectedRowsExpectation)]
        # Whether they hold is asked of all in one query; examples cost scans of their own, so only of those that fail.
        held = _validate(batch, name, others, result_format="BOOLEAN_ONLY")
        failing = [row.expectation_config.to_domain_obj() for row in held if not row.success]
        # SUMMARY fetches examples only, where COMPLETE would fetch every failing row into memory. A query of one's own shows
        # rows in COMPLETE alone, and never more than a page of them.
        found = [row for row in held if row.success] + [
            row
            for form, some in (("SUMMARY", failing), ("COMPLETE", queries))
            for row in _validate(
                batch, name, some, result_format=form, unexpected_index_column_names=list(key)
            )
        ]
    results = [row.to_json_dict() for row in found]
    failures = [_failure(row, key, personal) for row in results if not row["success"]]
    asked = tuple(_asked(row["expectation_config"]) for row in results)
    return Verdict(name, len(results), tuple(failures), asked, key)


def bad_rows(
    connection: Connection, schema: str, table: str, seen: str, expectations: Sequence[Expectation]
) -> list[tuple[str, str]] | None:
    """Which rows of a table are to blame for the critical expectations that fail: each one's rule, and a query for the
    `ctid` of its rows. None when the table as a whole is to blame for one.

    :param seen: a view of the table that has `ctid` as a column.
    """
    with _batch(connection, schema, seen) as batch:
        results = _validate(
            batch, seen, expectations, result_format="BOOLEAN_ONLY",
            unexpected_index_column_names=["ctid"], return_unexpected_index_query=True,
        )  # fmt: skip
    found = []
    for row in (one.to_json_dict() for one in results):
        config = row["expectation_config"]
        if row["success"] or _severity(config) != "critical":
            continue
        query = (config.get("meta") or {}).get(in_sql.ROWS, "")
        written = row["result"].get("unexpected_index_query", "")
        if not query and not written:
            return None
        query = query.replace(in_sql.BATCH, identifier(schema, table)) or in_sql.plain(written)
        found.append((_rule(config), query))
    return found


@contextmanager
def _batch(connection: Connection, schema: str, table: str) -> Iterator[Any]:
    try:
        source = _data_source(connection)
        try:
            asset = source.add_table_asset(f"{schema}.{table}", table_name=table, schema_name=schema)
            yield asset.add_batch_definition_whole_table("whole").get_batch()
        finally:
            source.get_execution_engine().close()
    except Exception as error:
        if _passes("".join(traceback.format_exception(error))):
            raise _broken_off(f"{schema}.{table}") from error
        raise


def _validate(batch: Any, name: str, expectations: Sequence[Expectation], **result_format: Any) -> list[Any]:
    import great_expectations as gx

    if not expectations:
        return []

    # Expectations belong to one suite; copies let a caller use its list twice.
    suite = gx.ExpectationSuite(name=name, expectations=[e.copy() for e in expectations])
    found = batch.validate(suite, result_format={"partial_unexpected_count": EXAMPLES, **result_format})
    for row in found.results:
        raised = _raised(row.to_json_dict())
        if any(_passes(str(one.get("exception_traceback"))) for one in raised):
            raise _broken_off(name)
        if raised:
            raise TerminalError(
                f"expectation {_rule(row.expectation_config.to_json_dict())} could not be evaluated",
                where=name,
                received="; ".join(str(one.get("exception_message")) for one in raised),
                todo="correct the suite: include/suites, or the contract it is derived from",
            )
    return list(found.results)


def _data_source(connection: Connection) -> Any:
    # A new one for each audit: with it goes a cache that takes "id" for "Id", of whichever table it was.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    import great_expectations as gx

    # Its remarks on its own workings would bury the verdict in the task's log.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    # Whether a key is unique is counted in memory, or else on disk, which takes several times as long.
    url = connection.postgres_uri(work_mem="64MB").replace("postgresql:", "postgresql+psycopg:", 1)
    return context.data_sources.add_postgres("warehouse", connection_string=url)


def _failure(row: dict[str, Any], key: tuple[str, ...], personal: frozenset[str]) -> Failure:
    config, result = row["expectation_config"], row["result"]
    examples = result.get("partial_unexpected_index_list") or [
        {"value": value} for value in result.get("partial_unexpected_list", ())
    ]
    # Examples of a custom query are rows of any columns.
    details = result.get("details") or {}
    examples = examples or details.get("unexpected_rows") or []
    about = {config["kwargs"].get("column"), *(config["kwargs"].get("column_list") or ())}
    hide_value = bool(personal & about)
    shown = tuple(
        {
            name: hidden(value, name in key)
            if name in personal or (name == "value" and hide_value)
            else value
            for name, value in example.items()
        }
        for example in examples[:EXAMPLES]
    )
    observed = result.get("observed_value")
    return Failure(
        rule=_rule(config),
        severity=_severity(config),
        unexpected=result.get("unexpected_count"),
        checked=result.get("element_count"),
        examples=shown,
        observed="" if hide_value or observed is None or isinstance(observed, list | dict) else str(observed),
    )


def _asked(config: dict[str, Any]) -> Rule:
    return Rule(_rule(config), _severity(config), str((config.get("meta") or {}).get("why", "")))


def hidden(value: Any, is_key: bool) -> str:
    """What stands for a personal value: of a key so much that one who may read the source finds the row."""
    digest = (
        f", md5 {hashlib.md5(str(value).encode(), usedforsecurity=False).hexdigest()[:8]}…" if is_key else ""
    )
    return f"(personal data{digest})"


def _severity(config: dict[str, Any]) -> str:
    return str(config.get("severity") or "critical")


def _rule(config: dict[str, Any]) -> str:
    if config.get("description"):
        return str(config["description"])
    skip = {"batch_id", "unexpected_rows_query", "mostly", "severity"}
    arguments = ", ".join(
        f"{k}={v!r}" for k, v in config["kwargs"].items() if k not in skip and v not in (None, [], False)
    )
    return f"{config['type']}({arguments})"


def _raised(row: dict[str, Any]) -> list[dict[str, Any]]:
    info = row.get("exception_info") or {}
    found = [info] if "raised_exception" in info else list(info.values())
    return [one for one in found if one.get("raised_exception")]


def _passes(text: str) -> bool:
    """Whether it is the server's or the way's fault: a session that was ended, a timeout, no room. No rule can help that."""
    return any(
        f"{name}Error: " in text for name in ("exc.Operational", "exc.Interface", "psycopg.Operational")
    )


def _broken_off(name: str) -> Unreachable:
    return Unreachable("the warehouse broke off an audit", where=name, todo="it is tried again")
