"""Building marts: a candidate that nobody sees, its gate, and the publication of all its tables at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from include.core.connection import Connection
from include.core.contracts.transform import TransformContract
from include.core.errors import GateFailed, TerminalError
from include.flows import dbt_models, months, watch
from include.quality import gate, suites
from include.warehouse import ledger, marts, metrics, reached
from include.warehouse.connect import connected

log = logging.getLogger("millrace.transform")


class Transform:
    """One run of one transform. `connect` finds a connection by its id, `manifest` is what dbt wrote of its project."""

    def __init__(
        self, contract: TransformContract, connect: Callable[[str], Connection], run_id: str, manifest: Path
    ) -> None:
        self.contract = contract
        self.run_id = run_id
        self._connect = connect
        self._manifest = manifest

    def begin(self) -> None:
        """Start with an empty candidate."""
        nodes = dbt_models.nodes(self._manifest)
        schemas = frozenset(str(node["schema"]) for node in nodes if node["resource_type"] == "model")
        with connected(self._transformer()) as session:
            marts.clear_candidate(session, self.contract.transform, self.run_id, schemas)
            built = reached.note_built_from(
                session, self.contract.transform, self.run_id, self.contract.sources
            )
            due = months.mark(session, self.contract, self.run_id, built)
        if due:
            log.info("months to close: %s", ", ".join(f"{month:%Y-%m}" for month in due))

    def audit(self, schema: str, table: str, backfill: bool = False) -> gate.Verdict:
        """Judge one table of the candidate by its suite, and its figures by their history.

        :param backfill: it was built because the past was loaded again; its figures are no history then.
        :raises GateFailed: with the failing expectations and examples of rows; or the table has no suite.
        :raises TerminalError: the candidate is of another run, or was published already.
        """
        with connected(self._transformer()) as session:
            marts.check_candidate(session, self.contract.transform, self.run_id)
        suite = suites.file(schema, table)
        if not suite.is_file():
            raise GateFailed(
                "no suite says what must hold in this table, so it is not published",
                where=f"{schema}.{table}",
                allowed="a suite for each table that is published; its list of expectations may be short",
                todo=f"write {suite} (docs/how-to/add-a-suite.md), then clear the run",
            )
        key, personal = self._key_and_personal_columns(table)
        verdict = gate.audit(
            self._transformer(),
            marts.candidate(schema),
            table,
            suites.written(schema, table),
            key=key,
            personal=personal,
        )
        with connected(self._transformer()) as session:
            about = metrics.Run(f"{schema}.{table}", self.run_id, None, self._as_of(session))
            verdict = watch.mart(
                session, about, (marts.candidate(schema), table), self.contract.watch, verdict,
                key=key, personal=personal, left_out=backfill,
            )  # fmt: skip
            ledger.record_gate(
                session, self.contract.transform, self.run_id, f"{schema}.{table}",
                passed=verdict.passed, expectations=verdict.expectations, failures=verdict.to_json(),
                asked=verdict.asked_json(),
            )  # fmt: skip
        log.log(logging.INFO if verdict.passed else logging.ERROR, "%s", verdict)
        todo = "consumers keep the last published version; correct the model or its input, then clear the run"
        gate.demand([verdict], todo)
        return verdict

    def publish(self) -> tuple[int, dict[str, dict[str, int]]]:
        """Make the candidate what consumers see. Returns the publication's id, and rows by schema and table."""
        with connected(self._transformer()) as session:
            version, relations = marts.publish_candidate(session, self.contract.transform, self.run_id)
        log.info("publication %s: %s", version, relations)
        return version, relations

    def brings_more_than_backfills(self) -> bool:
        """Whether regular loads have reached raw between the publication before and this run's build."""
        with connected(self._transformer()) as session:
            return reached.brings_more_than_backfills(session, self.contract.transform, run_id=self.run_id)

    def _key_and_personal_columns(self, table: str) -> tuple[tuple[str, ...], frozenset[str]]:
        """A model's primary key, and the columns that its documentation marks as personal data (`meta.pii`)."""
        model = dbt_models.model(self._manifest, table)
        if model is None:
            raise TerminalError(
                "dbt no longer knows a model that this run has to judge",
                where=f"transform {self.contract.transform!r}",
                received=table,
                allowed="the name of a model",
                todo="start a new run: this one is of the time before the model was removed or renamed",
            )
        keys = [c["columns"] for c in model["constraints"] if c["type"] == "primary_key"]
        return tuple(keys[0]) if keys else (), dbt_models.personal_columns(model)

    def _as_of(self, session: Any) -> datetime:
        """Until when the marts speak: the end of the newest interval that was loaded; where there is none, now."""
        moment: datetime = session.execute(
            "select coalesce(max(interval_end), clock_timestamp()) from ledger.load"
            " where source = any(%s) and kind = 'regular' and status = 'published'",
            (list(self.contract.sources),),
        ).fetchone()[0]
        return moment

    def _transformer(self) -> Connection:
        return self._connect("warehouse_transformer")


def record_results(
    connect: Callable[[str], Connection], transform: str, run_id: str, results: list[dict[str, Any]]
) -> None:
    """Keep what dbt says of each model and test in `ledger.model_result`.

    :param results: the entries of dbt's run_results.json
        (https://docs.getdbt.com/reference/artifacts/run-results-json).
    """
    rows = [
        (
            transform, run_id, result["unique_id"], result["status"], result["adapter_response"].get("rows_affected"),
            result.get("failures"), result["execution_time"], result.get("message"),
        )
        for result in results
    ]  # fmt: skip
    with connected(connect("warehouse_transformer")) as session, session.cursor() as cursor:
        cursor.executemany(
            "insert into ledger.model_result (transform, run_id, unique_id, status, rows, failures, seconds, message)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (transform, run_id, unique_id) do update"
            " set status = excluded.status, rows = excluded.rows, failures = excluded.failures,"
            " seconds = excluded.seconds, message = excluded.message, recorded_at = clock_timestamp()",
            rows,
        )


def rollback(transform: str, connect: Callable[[str], Connection]) -> int:
    """Point consumers' views at the version before the one that serves. Returns the publication that serves now.

    :raises TerminalError: there is no version before.
    """
    with connected(connect("warehouse_transformer")) as session:
        return marts.rollback(session, transform)


def publications(transform: str, connect: Callable[[str], Connection]) -> list[tuple[int, datetime, str]]:
    """The versions that are kept, the one that serves first: id, when it was published, and by which run."""
    with connected(connect("warehouse_transformer")) as session:
        return marts.publications(session, transform)
