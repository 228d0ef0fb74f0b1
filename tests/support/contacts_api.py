"""A small contacts API that speaks the batch upsert of CRMs. The demo's HTTP target, and what the tests
deliver to.

    python -m tests.support.contacts_api --port 8090 --db contacts.sqlite3 --token SECRET

    POST /v1/contacts/batch/upsert  {"records": [{"id", "properties": {…}}]}
        200, or 207 when single records were refused: {"results": [{"id", "status", "error"}]}
    GET /v1/contacts/{id}           200 {"id", "properties", "revision"}, or 404
    GET /v1/contacts?limit&after    200 {"results": […], "paging": {"next": {"after"}}}
    GET /health                     200, without a token

As at the models: 100 records a batch at most (413), 401 without the token, 429 with `Retry-After` above the
rate, a record with an invalid e-mail is refused by itself (207), a value of the wrong type refuses the whole
batch (400). `revision` counts the changes that had an effect: the same record sent twice has one.

With `--admin-token`, POST /admin/faults `{"kind": "drop" | "status" | "delay", "times", "status", "seconds"}`
makes the next upserts fail: `drop` applies the batch and breaks the connection, `status` answers that without
applying, `delay` answers late. `{"kind": "stumble", "id"}` answers 500 to every batch that holds this record,
until another id is named.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import math
import os
import re
import sqlite3
import time
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

MAX_BATCH = 100
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_TABLE = """
create table if not exists contact (
    id text primary key,
    properties text not null,
    revision integer not null default 1
)
"""
# An equal record changes nothing, whatever the order of its fields was.
_UPSERT = """
insert into contact (id, properties) values (?, ?)
on conflict (id) do update set properties = excluded.properties, revision = revision + 1
where properties <> excluded.properties
returning revision
"""


class ContactsApi:
    """The API over one SQLite file, which outlives the process."""

    def __init__(self, db: str, token: str, admin_token: str, rate: int, per_seconds: float) -> None:
        self._db = sqlite3.connect(db, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(_TABLE)
        self._token, self._admin_token = token, admin_token
        self._rate, self._per_seconds = rate, per_seconds
        self._window, self._used = 0.0, 0
        self._faults: list[dict[str, Any]] = []
        self._stumbles_at = ""
        self.requests = self.refused = 0

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=16 * 1024 * 1024)
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/contacts/batch/upsert", self._upsert)
        app.router.add_get("/v1/contacts", self._list)
        app.router.add_get("/v1/contacts/{id}", self._get)
        if self._admin_token:
            app.router.add_post("/admin/faults", self._set_fault)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/health":
            return await handler(request)
        admin = request.path.startswith("/admin/")
        wanted = f"Bearer {self._admin_token if admin else self._token}"
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), wanted.encode()):
            return _error(401, "the token is missing or wrong")
        wait = 0.0 if admin else self._wait()
        if wait > 0:
            self.refused += 1
            return _error(429, "too many requests", {"Retry-After": str(math.ceil(wait))})
        return await handler(request)

    def _wait(self) -> float:
        """Seconds until another request is allowed; 0 takes one."""
        now = time.monotonic()
        if now - self._window >= self._per_seconds:
            self._window, self._used = now, 0
        if self._rate and self._used >= self._rate:
            return self._window + self._per_seconds - now
        self._used += 1
        return 0.0

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _upsert(self, request: web.Request) -> web.Response:
        self.requests += 1
        fault = self._next_fault()
        if fault["kind"] == "status":
            return _error(fault["status"], "as asked for")
        try:
            records = (await request.json())["records"]
            problem = _batch_problem(records)
        except (ValueError, KeyError, TypeError):
            return _error(400, 'expected {"records": [{"id": text, "properties": object}, …]}')
        if problem:
            return _error(413 if len(records) > MAX_BATCH else 400, problem)
        if any(record["id"] == self._stumbles_at for record in records):
            return _error(500, "as asked for")
        results = self._apply(records)
        if fault["kind"] == "drop" and request.transport is not None:
            request.transport.abort()
        if fault["kind"] == "delay":
            await asyncio.sleep(fault["seconds"])
        refused = any("error" in result for result in results)
        return web.json_response({"results": results}, status=207 if refused else 200)

    def _apply(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        results = []
        self._db.execute("begin immediate")
        for record in records:
            email = record["properties"].get("email")
            if email is not None and not (isinstance(email, str) and _EMAIL.fullmatch(email)):
                results.append({"id": record["id"], "status": "error", "error": "email is not valid"})
                continue
            row = (record["id"], json.dumps(record["properties"], sort_keys=True))
            revisions = self._db.execute(_UPSERT, row).fetchall()
            status = "unchanged" if not revisions else "created" if revisions[0][0] == 1 else "updated"
            results.append({"id": record["id"], "status": status})
        self._db.execute("commit")
        return results

    async def _get(self, request: web.Request) -> web.Response:
        row = self._db.execute("select * from contact where id = ?", (request.match_info["id"],)).fetchone()
        return web.json_response(_contact(row)) if row else _error(404, "there is no such contact")

    async def _list(self, request: web.Request) -> web.Response:
        try:
            limit = min(max(int(request.query.get("limit", "100")), 1), 1000)
        except ValueError:
            return _error(400, "limit must be a number")
        rows = self._db.execute(
            "select * from contact where id > ? order by id limit ?", (request.query.get("after", ""), limit)
        ).fetchall()
        answer: dict[str, Any] = {"results": [_contact(row) for row in rows]}
        if len(rows) == limit:
            answer["paging"] = {"next": {"after": rows[-1][0]}}
        return web.json_response(answer)

    async def _set_fault(self, request: web.Request) -> web.Response:
        fault = {"times": 1, "status": 500, "seconds": 1.0} | await request.json()
        if fault["kind"] == "stumble":
            self._stumbles_at, fault["times"] = fault["id"], 0
        self._faults.extend([fault] * fault["times"])
        return web.json_response(
            {"requests": self.requests, "refused": self.refused, "waiting": len(self._faults)}
        )

    def _next_fault(self) -> dict[str, Any]:
        return self._faults.pop(0) if self._faults else {"kind": "none"}


def _batch_problem(records: list[dict[str, Any]]) -> str:
    """Why the batch as a whole is refused, or an empty text."""
    if not isinstance(records, list) or len(records) > MAX_BATCH:
        return f"{MAX_BATCH} records a batch at most"
    for record in records:
        if not (isinstance(record["id"], str) and record["id"] and isinstance(record["properties"], dict)):
            return "a record needs an id and properties"
        value = record["properties"].get("customer_value")
        try:
            finite = value is None or Decimal(str(value)).is_finite()
        except InvalidOperation:
            finite = False
        if not finite:
            return "customer_value is not a number"
    return ""


def _contact(row: tuple[str, str, int]) -> dict[str, Any]:
    return {"id": row[0], "properties": json.loads(row[1]), "revision": row[2]}


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)


def main() -> None:
    parser = argparse.ArgumentParser(description="A contacts API with a batch upsert.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--db", required=True, help="SQLite file")
    # The process list shows arguments to everyone on the machine, so the environment can hold the tokens
    # instead.
    parser.add_argument("--token", default=os.environ.get("CONTACTS_API_TOKEN", ""))
    parser.add_argument("--admin-token", default=os.environ.get("CONTACTS_API_ADMIN_TOKEN", ""))
    parser.add_argument("--rate", type=int, default=0, help="requests in each --per seconds; 0 sets no limit")
    parser.add_argument("--per", type=float, default=10.0)
    arguments = parser.parse_args()
    if not arguments.token:
        parser.error("--token or CONTACTS_API_TOKEN is needed")
    api = ContactsApi(arguments.db, arguments.token, arguments.admin_token, arguments.rate, arguments.per)
    # Who is in the address book does not belong in a log.
    web.run_app(api.application(), host=arguments.host, port=arguments.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
