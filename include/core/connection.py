"""A connection as Airflow describes one, without Airflow.

Two spellings are understood, the same that Airflow reads from `AIRFLOW_CONN_<ID>`: a URI and a JSON object
(https://airflow.apache.org/docs/apache-airflow/stable/howto/connection.html).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from include.core.errors import ContractError


@dataclass(frozen=True)
class Connection:
    """Where a system is and how to log in. The password never shows in `repr`."""

    conn_id: str
    conn_type: str
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    schema: str = ""
    extra: dict[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def postgres_uri(self, **options: str) -> str:
        """A libpq URI.

        :param options: settings of the server for the session. Extras that libpq knows, such as `sslmode`, are passed on.
        """
        auth = quote(self.login, safe="")
        if self.password:
            auth += ":" + quote(self.password, safe="")
        address = f"{_bracket(self.host or 'localhost')}:{self.port or 5432}"
        query = {k: str(v) for k, v in self.extra.items() if k in _LIBPQ and v not in (None, "")}
        settings = " ".join(f"-c {name}={_escape(value)}" for name, value in options.items())
        if settings:
            query["options"] = f"{query.get('options', '')} {settings}".strip()
        query.setdefault("application_name", "millrace")
        tail = "&".join(f"{k}={quote(v, safe='')}" for k, v in query.items())
        return f"postgresql://{auth}@{address}/{quote(self.schema or self.login, safe='')}?{tail}"


# What libpq understands and a connection's extra may carry; anything else there is Airflow's own.
_LIBPQ = frozenset(
    "sslmode sslrootcert sslcert sslkey sslcrl channel_binding connect_timeout target_session_attrs options"
    " application_name keepalives keepalives_idle keepalives_interval keepalives_count gssencmode".split()
)


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _escape(value: str) -> str:
    return str(value).replace("\\", "\\\\").replace(" ", "\\ ")


def parse_connection(conn_id: str, text: str) -> Connection:
    """Read one connection from a URI or a JSON object.

    :raises ContractError: the text is neither.
    """
    text = text.strip()
    if text.startswith("{"):
        return _from_json(conn_id, text)
    try:
        parts = urlsplit(text)
        port, query = parts.port, dict(parse_qsl(parts.query, keep_blank_values=True))
        extra = json.loads(query.pop("__extra__", "{}")) | query
    except ValueError:
        parts = urlsplit("")  # what was wrong may be a piece of the password: it is not repeated
    if not parts.scheme:
        raise ContractError(
            "is not a connection",
            where=f"connection {conn_id!r}",
            allowed="a URI such as postgresql://user:password@host:5432/database, or a JSON object with conn_type",
            todo=f"correct AIRFLOW_CONN_{conn_id.upper()}; in a URI, percent-encode / ? # @ : of the password",
        )
    kind = parts.scheme.replace("-", "_")
    return Connection(
        conn_id=conn_id,
        conn_type="postgres" if kind == "postgresql" else kind,
        host=unquote(parts.hostname or ""),
        port=port,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=unquote(parts.path.lstrip("/")),
        extra=extra,
    )


def _from_json(conn_id: str, text: str) -> Connection:
    try:
        data = json.loads(text)
        extra = data.get("extra") or {}
        return Connection(
            conn_id=conn_id,
            conn_type="postgres" if data["conn_type"] == "postgresql" else data["conn_type"],
            host=data.get("host") or "",
            port=int(data["port"]) if data.get("port") else None,
            login=data.get("login") or "",
            password=data.get("password") or "",
            schema=data.get("schema") or "",
            extra=json.loads(extra) if isinstance(extra, str) else dict(extra),
        )
    except (KeyError, ValueError) as error:
        raise ContractError(
            f"is not a connection: {type(error).__name__}",
            where=f"connection {conn_id!r}",
            allowed="a JSON object with conn_type, host, port, login, password, schema, extra",
            todo=f"correct AIRFLOW_CONN_{conn_id.upper()}",
        ) from None


def connection_from_environment(conn_id: str) -> Connection | None:
    """The connection that `AIRFLOW_CONN_<ID>` describes, or None when that variable is not set."""
    text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    return parse_connection(conn_id, text) if text else None
