"""`millrace contract`: what contracts say, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from include.core.changes import Change
    from include.core.contracts.check import Report
    from include.core.contracts.faults import Document
    from include.core.contracts.load import Read
    from include.core.contracts.source import SourceContract, Stream

_PANEL = "Contracts"
_app = typer.Typer(no_args_is_help=True, help="Check contracts, and look their fields up.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(_app, name="contract", rich_help_panel=_PANEL)


@_app.command()
def check(
    contracts: Annotated[
        list[str] | None, typer.Argument(help="Names or files of contracts. Default: all of them.")
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also compare each source with its live database.")
    ] = False,
) -> None:
    """Check contracts: every fault with file, line, field, what was received and what is allowed.

    Exit code 1 when there is a fault; warnings alone do not fail. With --connect each source's tables, types,
    keys and rights are compared with what is there now; nothing is read but the catalog.

    Examples:

      millrace contract check

      millrace contract check shop --connect

      millrace contract check include/contracts/syncs/crm_contacts.yaml
    """
    from datetime import datetime, timezone

    from include.cli.connections import from_environment
    from include.core.contracts.check import all_files, find_files, stray_files
    from include.core.contracts.check import check as check_files

    report = check_files(
        find_files(contracts) if contracts else all_files(),
        today=datetime.now(timezone.utc).date(),
        defined=lambda conn_id: from_environment(conn_id) is not None,
        system_of=_system_of,
        personal=_personal,
    )
    warnings = [*report.warnings, *([] if contracts else stray_files())]
    for fault in report.faults:
        typer.secho(f"fault    {fault}\n", fg=typer.colors.RED)
    for warning in warnings:
        typer.secho(f"warning  {warning}\n", fg=typer.colors.YELLOW)
    live = list(_live(report)) if connect else []
    for passes, text in live:
        word, colour = ("warning", typer.colors.YELLOW) if passes else ("fault", typer.colors.RED)
        typer.secho(f"{word:<8} {text}\n", fg=colour)
    passed = sum(passes for passes, _ in live)
    number = len(report.faults) + len(live) - passed
    typer.echo(f"{_summary(report, connect)}: {number} faults, {len(warnings) + passed} warnings")
    if number:
        raise typer.Exit(1)


def _system_of(conn_id: str) -> object:
    """Reader and writer log in as two roles, by two connections, to one system."""
    from include.cli.connections import from_environment

    found = from_environment(conn_id)
    if found is None:
        return conn_id
    # a database is named by the table in MariaDB and MySQL
    return found.host, found.port, "" if found.conn_type == "mysql" else found.schema


@_app.command()
def fields() -> None:
    """Print every field of every kind of contract: what it takes, its default, what it is for."""
    from include.core.contracts.reference import reference

    typer.echo(reference(), nl=False)


def _personal(model: str) -> frozenset[str] | None:
    """The personal columns of an activation model; none where dbt has not read the project yet."""
    from include.flows import dbt_models
    from include.stack.home import DBT_MANIFEST

    if not DBT_MANIFEST.is_file():
        return frozenset()
    found = dbt_models.model(DBT_MANIFEST, model)
    return dbt_models.personal_columns(found) if found else None


def _summary(report: Report, connect: bool) -> str:
    from include.core.contracts.load import KINDS

    counts = [
        f"{sum(path.resolve().parent.name == folder for path in report.files)} {folder}"
        for folder, _ in KINDS.values()
    ]
    return f"checked {', '.join(counts)}{', sources against their databases' if connect else ''}"


def _live(report: Report) -> Iterator[tuple[bool, str]]:
    """Each source that loads, compared with its database: whether the contract lets it pass, and what differs."""
    from include.core.errors import MillraceError

    for read in report.sources():
        try:
            yield from _compared(read)
        except MillraceError as error:
            yield False, _placed(read.document, ("connection",), error)


def _compared(read: Read[Any]) -> Iterator[tuple[bool, str]]:
    """One stream after the other, so that one stream's fault hides no other's."""
    from datetime import datetime, timezone

    from include.cli.connections import find
    from include.core.changes import refuse
    from include.core.errors import TerminalError
    from include.privacy import read_keys
    from include.sources import open_source
    from include.sources.log import open_slot

    contract, document = read.contract, read.document
    if contract.privacy_keys:
        try:
            read_keys(find(contract.privacy_keys))
        except TerminalError as error:
            yield False, _placed(document, ("privacy_keys",), error)
    # Tables that no stream reads are told once, and not with each stream.
    answers = contract.schema_answers.model_copy(update={"new_table": "ignore"})
    apart = contract.model_copy(update={"on_schema_change": answers})
    source = open_source(apart, find(contract.connection))
    unread: tuple[str, ...] = ()
    for number, stream in enumerate(contract.streams):
        try:
            with source.snapshot([stream]) as snapshot:
                unread, passed = snapshot.unread, snapshot.changes[stream.name]
            if passed:
                yield True, _placed(document, ("streams", number), _let_pass(contract, stream, passed))
        except TerminalError as error:
            yield False, _placed(document, ("streams", number), error)
    try:
        refuse(contract, {}, unread)
    except TerminalError as error:
        yield False, _placed(document, ("streams",), error)
    if contract.logged:
        open_slot(contract, find(contract.connection)).probe()
    if any(stream.stamp for stream in contract.streams):
        # whether the role may see open transactions; that some are open is no fault
        source.horizon(datetime.now(timezone.utc))
    source.stale_upstreams()


def _let_pass(contract: SourceContract, stream: Stream, passed: tuple[Change, ...]) -> Exception:
    """What the source has beyond the contract, in the form of an error that nobody has to raise."""
    from include.core.changes import correction
    from include.core.errors import SchemaChanged

    return SchemaChanged(
        "the source's shape differs from the contract, which lets it pass",
        where=f"source {contract.source!r}, stream {stream.name!r}",
        received="\n            ".join(f"{change.answer}: {change}" for change in passed),
        todo="bring the contract up to date:\n" + correction({stream.name: passed}),
    )


def _placed(document: Document, at: tuple[str | int, ...], error: Exception) -> str:
    return f"{document.path}:{document.fault(at, '', '', '').line}: {error}"
