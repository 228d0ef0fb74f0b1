"""Secrets of the local stack: generated once, kept in one file that only its owner can read."""

from __future__ import annotations

import base64
import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

_ALPHANUMERIC = string.ascii_letters + string.digits


def _password() -> str:
    # letters and digits only: safe unquoted in a URL, a shell, a connection string and an environment file
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(32))


def _s3_access_key() -> str:
    # the S3 server refuses keys that do not look like the real ones
    return "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


_GENERATORS: dict[str, Callable[[], str]] = {
    "POSTGRES_SUPERUSER_PASSWORD": _password,
    "AIRFLOW_DB_PASSWORD": _password,
    "AIRFLOW_ADMIN_PASSWORD": lambda: _password()[:16],
    "AIRFLOW_FERNET_KEY": _fernet_key,
    "AIRFLOW_SECRET_KEY": _password,
    "AIRFLOW_JWT_SECRET": lambda: _password() + _password(),
    "WAREHOUSE_LOADER_PASSWORD": _password,
    "WAREHOUSE_TRANSFORMER_PASSWORD": _password,
    "WAREHOUSE_ACTIVATOR_PASSWORD": _password,
    "WAREHOUSE_DEVELOPER_PASSWORD": _password,
    "WAREHOUSE_ANALYST_PASSWORD": _password,
    "SHOP_OWNER_PASSWORD": _password,
    "SHOP_READER_PASSWORD": _password,
    "CRM_OWNER_PASSWORD": _password,
    "CRM_WRITER_PASSWORD": _password,
    "S3_ACCESS_KEY": _s3_access_key,
    "S3_SECRET_KEY": lambda: _password() + _password()[:8],
    "CONTACTS_API_TOKEN": _password,
}


def read_env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines of a file; comments, blank lines, `export ` and one pair of quotes are dropped.

    An absent file is an empty one.
    """
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            value = value.strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[name.strip()] = value
    return found


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; nobody but the owner can read it at any moment."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)


def load_or_create(path: Path) -> dict[str, str]:
    """The secrets in `path`; the ones that are missing are generated and added first."""
    known = read_env_file(path)
    missing = {name: make() for name, make in _GENERATORS.items() if name not in known}
    if missing:
        known |= missing
        heading = "# Generated for this clone's local stack. Not for production, not for git.\n"
        write_private(path, heading + "".join(f"{name}={value}\n" for name, value in known.items()))
    return known
