"""How to log in at an API: what the connection says.

    password                     Authorization: Bearer <password>
    login and password           Authorization: Basic …
    extra header                 <header>: <password>
    extra token_url (and scope)  OAuth2 client credentials: login is the client's id, password its secret

A token is kept in memory only, until shortly before it expires, and fetched anew, once, when the API refuses it before.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from include.core.connection import Connection
from include.core.errors import ContractError, TerminalError, Unreachable

# A token that ends while a request is on its way would be refused.
_BEFORE_EXPIRY = 60.0


class Auth:
    """Headers that log in. Used in one event loop."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection, self._where = connection, where
        self._token_url = str(connection.extra.get("token_url") or "")
        self._scope = str(connection.extra.get("scope") or "")
        self._header = str(connection.extra.get("header") or "")
        self._token, self._valid_until = "", 0.0
        self._fetching = asyncio.Lock()
        if self._token_url and not (connection.login and connection.password):
            raise ContractError(
                "client credentials need an id and a secret",
                where=f"connection {connection.conn_id!r}",
                received="token_url in the extra, without login or password",
                todo=f"put the client's id and secret into login and password of AIRFLOW_CONN_{connection.conn_id.upper()}",
            )

    async def headers(self, client: aiohttp.ClientSession) -> dict[str, str]:
        """Headers for one request. Senders that need a token at the same time wait for one fetch.

        :raises TerminalError: the token endpoint refuses the client.
        :raises Unreachable: it does not answer.
        """
        login, password = self._connection.login, self._connection.password
        if self._token_url:
            async with self._fetching:
                if time.monotonic() >= self._valid_until:
                    await self._fetch(client)
            return {"Authorization": f"Bearer {self._token}"}
        if self._header and password:
            return {self._header: password}
        if login:
            return {"Authorization": _basic(login, password)}
        return {"Authorization": f"Bearer {password}"} if password else {}

    def refused(self, headers: dict[str, str]) -> bool:
        """Note that the API refused these headers. Whether other ones can be had."""
        if not self._token_url:
            return False
        if headers.get("Authorization") == f"Bearer {self._token}":
            self._valid_until = 0.0
        return True

    def todo(self) -> str:
        """What a person has to do when the API refuses the login."""
        name = f"AIRFLOW_CONN_{self._connection.conn_id.upper()}"
        if self._token_url:
            return f"see what the client may do at the API (its scopes), and its id and secret in {name}"
        if self._header:
            return f"put a valid key for header {self._header!r} into {name}, as its password"
        if self._connection.login:
            return f"correct login and password in {name}"
        return f"put a valid token into {name}, as its password, and see what it may do at the API"

    async def _fetch(self, client: aiohttp.ClientSession) -> None:
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        # RFC 6749, 2.3.1: both halves are form-encoded first.
        login, secret = (quote(part, safe="") for part in (self._connection.login, self._connection.password))
        try:
            async with client.post(
                self._token_url,
                data=form,
                headers={"Authorization": _basic(login, secret)},
                allow_redirects=False,
            ) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            # Not what the client said: it may repeat the request.
            raise Unreachable(
                f"the token endpoint does not answer: {type(error).__name__}", where=self._place()
            ) from None
        if status in (408, 425, 429) or status >= 500:
            raise Unreachable(f"the token endpoint answers HTTP {status}", where=self._place())
        answer = _object(body)
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str) or not token:
            raise TerminalError(
                "the token endpoint gives no token",
                where=self._place(),
                received=f"HTTP {status} {answer.get('error', '')}".strip(),
                allowed="200 with an access_token",
                todo="correct the client's id (login), its secret (password), token_url or scope in"
                f" AIRFLOW_CONN_{self._connection.conn_id.upper()}",
            )
        try:
            lifetime = float(answer.get("expires_in") or "inf")
        except (TypeError, ValueError):
            lifetime = float("inf")
        self._token = token
        self._valid_until = time.monotonic() + max(lifetime - _BEFORE_EXPIRY, lifetime / 2)

    def _place(self) -> str:
        return f"{self._where}, token_url {self._token_url}"


def _basic(login: str, password: str) -> str:
    return "Basic " + b64encode(f"{login}:{password}".encode()).decode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
