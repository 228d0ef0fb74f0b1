"""Salesforce's sObject Collections and Rows by External ID as they are published: what a declaration in its shape is
tested against.

    POST   /services/oauth2/token                                client credentials: {"access_token", "instance_url", …}
    PATCH  /services/data/v61.0/composite/sobjects/Contact/Ext__c
           {"allOrNone": false, "records": [{"attributes": {"type"}, fields…}]}, 200 of them at most
           200 [{"id", "success", "errors": [{"statusCode", "message", "fields"}], "created"}], in the records' order
    GET    /services/data/v61.0/sobjects/Contact/Ext__c/VALUE?fields=…    200 the record, or 404
    DELETE /services/data/v61.0/sobjects/Contact/Ext__c/VALUE             204, or 404

Errors of a request are [{"message", "errorCode"}]: 401 INVALID_SESSION_ID, 403 REQUEST_LIMIT_EXCEEDED, 400 MALFORMED…
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.support.served import Faults, suffer

EXTERNAL_ID = "Ext__c"
CLIENT = ("consumer-key", "consumer secret/of the test")
_FIELDS = {EXTERNAL_ID, "Email", "LastName", "Value__c", "Segment__c", "LastOrder__c"}


class SalesforceApi:
    """Contacts by external id. `effects` counts the writes that changed something."""

    def __init__(self, lifetime: float | None = None) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}
        self.effects: dict[str, int] = {}
        self.faults = Faults()
        self.tokens: list[str] = []
        #: External ids whose row somebody else has locked.
        self.locked: set[str] = set()
        self.limited = False
        self._lifetime = lifetime

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        base = "/services/data/v61.0"
        app.router.add_post("/services/oauth2/token", self._token)
        app.router.add_patch(f"{base}/composite/sobjects/Contact/{EXTERNAL_ID}", self._upsert)
        app.router.add_get(f"{base}/sobjects/Contact/{EXTERNAL_ID}/{{key}}", self._get)
        app.router.add_delete(f"{base}/sobjects/Contact/{EXTERNAL_ID}/{{key}}", self._delete)
        return app

    def forget_tokens(self) -> None:
        """End all sessions, as an administrator can."""
        self.tokens = ["ended"] * len(self.tokens)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.endswith("/token"):
            return await handler(request)
        if request.headers.get("Authorization", "") not in {
            f"Bearer {token}" for token in self.tokens if token != "ended"
        }:
            return _error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.limited:
            return _error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        fault = self.faults.next()
        if not fault["after"] and (failed := await suffer(fault, request)):
            return failed
        answer: web.StreamResponse = await handler(request)
        if fault["after"]:
            answer = await suffer(fault, request) or answer
        return answer

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        given = b64decode(request.headers.get("Authorization", "Basic ").partition(" ")[2]).decode()
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if tuple(map(unquote, given.split(":"))) != CLIENT:
            return web.json_response(
                {"error": "invalid_client", "error_description": "invalid client credentials"}, status=400
            )
        token = f"00D-session-{len(self.tokens)}"
        self.tokens.append(token)
        answer = {"access_token": token, "instance_url": str(request.url.origin()), "token_type": "Bearer"}
        return web.json_response(answer | ({"expires_in": self._lifetime} if self._lifetime else {}))

    async def _upsert(self, request: web.Request) -> web.Response:
        asked = await request.json()
        records = asked["records"]
        if len(records) > 200:
            return _error(400, "LIMIT_EXCEEDED", "record limit reached. cannot submit more than 200 records")
        if asked.get("allOrNone") is not False or any(
            one["attributes"] != {"type": "Contact"} for one in records
        ):
            return _error(400, "INVALID_FIELD", "this server wants allOrNone false, and contacts")
        return web.json_response([self._write(dict(one)) for one in records])

    def _write(self, one: dict[str, Any]) -> dict[str, Any]:
        del one["attributes"]
        key = one[EXTERNAL_ID]
        unknown = sorted(set(one) - _FIELDS)
        if unknown:
            return _refused("INVALID_FIELD", f"No such column '{unknown[0]}' on sobject of type Contact")
        if key in self.locked:
            return _refused("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
        if not one.get("LastName"):
            return _refused("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ["LastName"])
        if "@" not in (one.get("Email") or "a@b"):
            return _refused(
                "INVALID_EMAIL_ADDRESS", f"Email: invalid email address: {one['Email']}", ["Email"]
            )
        created = key not in self.contacts
        if self.contacts.get(key) != one:
            self.effects[key] = self.effects.get(key, 0) + 1
        self.contacts[key] = one
        return {"id": f"003{key}", "success": True, "errors": [], "created": created}

    async def _get(self, request: web.Request) -> web.Response:
        held = self.contacts.get(request.match_info["key"])
        if held is None:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        fields = {name: held.get(name) for name in request.query["fields"].split(",")}
        if isinstance(fields.get("Value__c"), str):
            fields["Value__c"] = float(fields["Value__c"])
        return web.json_response({"attributes": {"type": "Contact", "url": request.path}, **fields})

    async def _delete(self, request: web.Request) -> web.Response:
        if self.contacts.pop(request.match_info["key"], None) is None:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        return web.Response(status=204)


def _refused(code: str, message: str, fields: list[str] | None = None) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": fields or []}]}


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response([{"message": message, "errorCode": code}], status=status)
