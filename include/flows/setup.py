"""What a warehouse needs before the first run, from every stage that keeps something there."""

from __future__ import annotations

from include.activation.schema import STATE_DDL
from include.warehouse import bootstrap


def set_up_warehouse(admin_conninfo: str, passwords: dict[str, str]) -> None:
    """Create roles, rights and the ledger, as an administrator of the warehouse's database. Safe to run again.

    :param passwords: one for each of `include.warehouse.bootstrap.ROLES`.
    :raises ContractError: a password is missing.
    """
    bootstrap.bootstrap(admin_conninfo, passwords, extra_ddl=(STATE_DDL,))
