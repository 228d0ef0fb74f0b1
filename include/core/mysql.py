"""How a connection becomes a login to MariaDB or MySQL, and how these servers quote names."""

from __future__ import annotations

import ssl
from typing import Any

from include.core.connection import Connection
from include.core.errors import ContractError

_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


def login(connection: Connection) -> dict[str, Any]:
    """The arguments of PyMySQL's `connect` that follow from a connection.

    :raises ContractError: its extra does not say how to encrypt.
    """
    return {
        "host": connection.host or "localhost",
        "port": connection.port or 3306,
        "user": connection.login,
        "password": connection.password.encode(),  # a text would be sent in latin1
        "unix_socket": connection.extra.get("unix_socket"),
        "charset": "utf8mb4",
        "connect_timeout": int(connection.extra.get("connect_timeout", 10)),
        "program_name": "millrace",
        **_tls(connection),
    }


def quoted(*path: str) -> str:
    """A name, or a dotted path of names, as these servers quote them."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in path)


def escaped(name: str) -> str:
    """A quoted name in a statement that the driver fills values into."""
    return name.replace("%", "%%")


def _tls(connection: Connection) -> dict[str, Any]:
    """What the connection's extra says about encryption, in Airflow's words: `ssl` with ca, cert and key, and `ssl_mode`.

    PREFERRED, the driver's own way, encrypts where the server can. From REQUIRED on it sends nothing in clear.
    """
    files = connection.extra.get("ssl") or {}
    mode = str(connection.extra.get("ssl_mode") or ("VERIFY_CA" if files else "PREFERRED")).upper()
    if mode not in _MODES or not isinstance(files, dict):
        raise ContractError(
            "does not say how to encrypt",
            where=f"connection {connection.conn_id!r}, extra",
            received=f"ssl_mode {mode}" if isinstance(files, dict) else "ssl, which is no object",
            allowed=f"ssl_mode: one of {', '.join(_MODES)}; ssl: an object with ca, cert and key (files)",
            todo="correct the connection's extra",
        )
    if mode in ("DISABLED", "PREFERRED"):
        return {"ssl_disabled": mode == "DISABLED"}
    context = ssl.create_default_context(cafile=files.get("ca"))
    context.check_hostname = mode == "VERIFY_IDENTITY"
    if mode == "REQUIRED":
        context.verify_mode = ssl.CERT_NONE
    if files.get("cert"):
        context.load_cert_chain(files["cert"], files.get("key"))
    return {"ssl": context}
