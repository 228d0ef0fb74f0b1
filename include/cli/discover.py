"""`millrace discover`: from a database to a source contract that runs."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from include.core.contracts import SourceContract, Stream

_PANEL = "Contracts"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel=_PANEL)(discover)


def discover(
    conn_id: Annotated[str, typer.Option(help="The Airflow connection to the database.")],
    name: Annotated[str, typer.Option(help="Name of the source: lower case letters, digits, underscores.")],
    schema: Annotated[
        list[str] | None, typer.Option(help="Only this schema; may be given several times. Default: all.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the contract instead of printing it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a contract that is there.")] = False,
) -> None:
    """Draft a source contract from a database's catalog: streams, keys, types, cursors, modes, personal data.

    No table is read, only the catalog and its statistics. The draft runs as it is; `decide:` marks what a
    person must answer. The connection is looked for in this shell, the local stack, .env, then in Airflow.

    Examples:

      millrace discover --conn-id my_db --name my_db

      millrace discover --conn-id my_db --name my_db --schema sales --schema hr --write
    """
    from datetime import datetime, timezone

    from include.cli.connections import find
    from include.core.contracts import contracts_folder
    from include.core.errors import ContractError
    from include.sources import discover as look
    from include.sources.contract_draft import draft

    path = contracts_folder() / "sources" / f"{name}.yaml"
    _check_name(name)
    connection = find(conn_id)
    found = look(connection, schema or ())
    if not found.tables:
        reasons = "\n            ".join(f"{skipped.name}: {skipped.reason}" for skipped in found.skipped)
        raise ContractError(
            "the role can read no table here",
            where=f"connection {conn_id!r}",
            received=reasons or "no tables at all",
            allowed="at least one table that the role may read",
            todo="grant the rights, or name another database or schema",
        )
    text = draft(found, name, conn_id, datetime.now(timezone.utc).date())
    if not write:
        typer.echo(text, nl=False)
        typer.echo("nothing written; add --write to write it to " + str(path), err=True)
        return
    _replace(path, text, force)
    contract = _loaded(path)
    typer.secho(f"wrote {path}: {_counted(contract)}", fg=typer.colors.GREEN)
    typer.echo(
        f"{text.count('decide:')} places are marked `decide:`. Next:\n"
        f"  1. read {path.name} and answer them with the source's owner\n"
        f"  2. millrace contract check {name} --connect\n"
        "  3. millrace up\n"
        f"  4. millrace run ingest__{name} --wait"
    )


def _check_name(name: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from include.core.contracts.common import Identifier
    from include.core.errors import ContractError

    try:
        TypeAdapter(Identifier).validate_python(name)
    except ValidationError:
        raise ContractError(
            "is no name for a source",
            where="--name",
            received=repr(name),
            allowed="lower case letters, digits and underscores, starting with a letter, 48 at most",
            todo="choose another; it names the file, the DAG and the schema raw_<name> in the warehouse",
        ) from None


def _replace(path: Path, text: str, force: bool) -> None:
    """Write the file whole or not at all; what it replaces is compared first."""
    from include.core.errors import ContractError

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".draft")
    draft = Path(temporary)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.chmod(0o644)
        if not path.exists():
            os.link(draft, path)  # unlike a rename, it fails when another process was faster
            return
        typer.echo(f"{path} is there. The draft differs from it:")
        for line in _differences(path, draft):
            typer.echo(f"  {line}")
        if not force:
            raise ContractError(
                "there is a contract already; nothing was written",
                where=str(path),
                received="no --force",
                allowed="--force, which replaces it and the decisions in it",
                todo="merge by hand what you want of the draft (run without --write), or add --force",
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _loaded(path: Path) -> SourceContract:
    from include.core.contracts import SourceContract, load_one

    return load_one(SourceContract, path)


def _counted(contract: SourceContract) -> str:
    modes: list[str] = [stream.mode for stream in contract.streams]
    parts = [f"{modes.count(mode)} {mode}" for mode in ("incremental", "snapshot") if mode in modes]
    return f"{len(modes)} streams ({', '.join(parts)})"


def _differences(old: Path, new: Path) -> Iterator[str]:
    """A summary: lines, streams, their ways of reading, columns."""
    from include.core.contracts import SourceContract, load_one
    from include.core.contracts.document import read_document
    from include.core.errors import ContractError

    before, after = old.read_text(encoding="utf-8").splitlines(), new.read_text(encoding="utf-8").splitlines()
    changed = [
        line[:1] for line in difflib.unified_diff(before, after, n=0) if line[:3] not in ("+++", "---")
    ]
    yield f"{changed.count('+')} lines added, {changed.count('-')} removed"
    try:
        streams = {stream.name: stream for stream in load_one(SourceContract, old).streams}
    except ContractError:
        yield "the file that is there does not load"
        return
    drafted = SourceContract.model_validate(read_document(new).data)
    yield from (
        f"stream {name}: only in the file that is there"
        for name in streams
        if name not in [stream.name for stream in drafted.streams]
    )
    for stream in drafted.streams:
        if stream.name in streams:
            yield from _changes(streams[stream.name], stream)
        else:
            yield f"stream {stream.name}: new"


def _changes(old: Stream, new: Stream) -> Iterator[str]:
    for field in ("table", "mode", "cursor", "deletes", "primary_key"):
        was, now = getattr(old, field), getattr(new, field)
        if was != now:
            yield f"stream {new.name}: {field} {was} → {now}"
    for column in sorted(old.columns.keys() | new.columns.keys()):
        rule, drafted = old.columns.get(column), new.columns.get(column)
        if rule != drafted:
            kind = "new" if rule is None else "gone" if drafted is None else "differs"
            yield f"stream {new.name}: column {column} {kind}"
