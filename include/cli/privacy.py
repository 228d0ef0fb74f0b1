"""`millrace reveal`: values from tokens, for who holds the key."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Tools")(reveal)


def reveal(
    source: Annotated[
        str, typer.Argument(help="The source whose tokens these are; its contract names the keys.")
    ],
) -> None:
    """Read CSV from standard input and write it with each token replaced by its value.

    A list with one token a line is CSV too. Cells that are no token pass as they are. Needs the connection that the contract
    names under privacy_keys; the keys themselves are never shown.

    Examples:

      echo mt1.2026-11.… | millrace reveal my_db

      millrace psql warehouse --csv -c "select id, phone from raw_my_db.people limit 5" | millrace reveal my_db
    """
    import csv
    import sys

    from include.cli.connections import find
    from include.core.contracts import SourceContract, load_named
    from include.core.errors import ContractError, TerminalError
    from include.privacy import is_token, read_keys
    from include.privacy import reveal as value_of

    contract = load_named(SourceContract, source)
    if contract.privacy_keys is None:
        raise ContractError(
            "nothing to reveal with",
            where=f"source {source!r}",
            received="its contract names no privacy_keys",
            allowed="a source whose contract has protect: token",
        )
    keys = read_keys(find(contract.privacy_keys))
    csv.field_size_limit(sys.maxsize)
    rows, out = csv.reader(sys.stdin), csv.writer(sys.stdout, lineterminator="\n")
    for row in rows:
        try:
            out.writerow([value_of(cell, keys) if is_token(cell) else cell for cell in row])
        except TerminalError as error:
            raise TerminalError(
                error.what,
                where=f"line {rows.line_num}",
                received=error.received,
                allowed=error.allowed,
                todo=error.todo,
            ) from None
