"""HubSpot's contacts as they are published (CRM v3): what a declaration in its shape is tested against.

    POST /crm/v3/objects/contacts/batch/upsert    {"inputs": [{"id", "idProperty", "objectWriteTraceId", "properties"}]}
        200 {"status": "COMPLETE", "results": [{"id", "properties", "new", …}]}
        207 with "numErrors" and "errors" [{"status", "category", "message", "context": {"objectWriteTraceId": […]}}] when
            every input has a trace id of its own; else one bad input refuses the whole batch with 400
    POST /crm/v3/objects/contacts/batch/read      {"inputs": [{"id"}], "idProperty", "properties"}
        200, or 207 with errors of category OBJECT_NOT_FOUND and "context": {"ids": […]}
    POST /crm/v3/objects/contacts/batch/archive   {"inputs": [{"id"}]}, by HubSpot's own ids: 204

100 inputs a request at most; an unknown property or a key twice refuses the batch; 429 above the rate; 401 without a token.
E-mail addresses are kept in lower case, values as text, and an empty text clears a property.
"""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from tests.support.served import Faults, Window, suffer

PROPERTIES = {"external_id", "email", "full_name", "customer_value", "segment", "last_order_at"}
TOKEN = "pat-of-the-test"
_MAX_BATCH = 100


class HubSpotApi:
    """Contacts by HubSpot's own id. `effects` counts the writes that changed something, by external id."""

    def __init__(self, window: Window | None = None, multi_status: bool = True) -> None:
        self.contacts: dict[str, dict[str, str]] = {}
        self.effects: dict[str, int] = {}
        self.faults, self.window = Faults(), window or Window()
        self.requests: list[tuple[str, int]] = []
        self.refused = 0
        self._multi_status, self._last_id = multi_status, 100

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/crm/v3/objects/contacts/batch/upsert", self._upsert)
        app.router.add_post("/crm/v3/objects/contacts/batch/read", self._read)
        app.router.add_post("/crm/v3/objects/contacts/batch/archive", self._archive)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(401, "Authentication credentials not found.", "INVALID_AUTHENTICATION")
        wait = self.window.wait()
        if wait > 0:
            self.refused += 1
            return web.json_response(
                {
                    "status": "error",
                    "message": "You have reached your ten_secondly_rolling limit.",
                    "errorType": "RATE_LIMIT",
                    "policyName": "TEN_SECONDLY_ROLLING",
                },
                status=429,
                headers={"Retry-After": str(math.ceil(wait))},
            )
        fault = self.faults.next()
        if not fault["after"] and (failed := await suffer(fault, request)):
            return failed
        inputs = (await request.json()).get("inputs", [])
        self.requests.append((request.path.rpartition("/")[2], len(inputs)))
        if len(inputs) > _MAX_BATCH:
            return _error(400, f"The maximum number of items in a batch request is {_MAX_BATCH}")
        answer: web.StreamResponse = await handler(request)
        if fault["after"]:
            answer = await suffer(fault, request) or answer
        return answer

    async def _upsert(self, request: web.Request) -> web.Response:
        inputs = (await request.json())["inputs"]
        if len({(one["idProperty"], one["id"].lower()) for one in inputs}) < len(inputs):
            return _error(400, "Duplicate IDs found in batch input")
        unknown = sorted({name for one in inputs for name in one["properties"]} - PROPERTIES)
        if unknown:
            return _error(400, f'Property values were not valid: Property "{unknown[0]}" does not exist')
        traces = {one.get("objectWriteTraceId") for one in inputs}
        apart = self._multi_status and None not in traces and len(traces) == len(inputs)
        bad = [one for one in inputs if "@" not in (one["properties"].get("email") or "a@b")]
        if bad and not apart:
            return _error(400, f"Property values were not valid: {_invalid(bad[0])}")
        results = [self._write(one) for one in inputs if one not in bad]
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if bad:
            answer["numErrors"] = len(bad)
            answer["errors"] = [
                {
                    "status": "error",
                    "category": "VALIDATION_ERROR",
                    "message": f"Property values were not valid: {_invalid(one)}",
                    "context": {"objectWriteTraceId": [one["objectWriteTraceId"]]},
                }
                for one in bad
            ]
        return web.json_response(answer, status=207 if bad else 200)

    def _write(self, one: dict[str, Any]) -> dict[str, Any]:
        properties = {name: _text(value) for name, value in one["properties"].items()}
        if "email" in properties:
            properties["email"] = properties["email"].lower()
        own_id = self._find(one["idProperty"], one["id"])
        new = own_id is None
        if own_id is None:
            self._last_id += 1
            own_id = str(self._last_id)
        held = self.contacts.get(own_id, {})
        if held | properties != held:
            key = properties.get("external_id", one["id"])
            self.effects[key] = self.effects.get(key, 0) + 1
        self.contacts[own_id] = held | properties
        answer = {"id": own_id, "properties": properties, "new": new, "archived": False}
        trace = one.get("objectWriteTraceId")
        return answer | ({"objectWriteTraceId": trace} if trace is not None else {})

    async def _read(self, request: web.Request) -> web.Response:
        asked = await request.json()
        found, missing = [], []
        for one in asked["inputs"]:
            own_id = self._find(asked["idProperty"], one["id"])
            if own_id is None:
                missing.append(one["id"])
                continue
            names = (asked["idProperty"], *asked["properties"])
            properties = {name: self.contacts[own_id].get(name) or None for name in names}
            found.append({"id": own_id, "properties": properties, "archived": False})
        answer: dict[str, Any] = {"status": "COMPLETE", "results": found}
        if missing:
            message = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."
            answer |= {
                "numErrors": 1,
                "errors": [
                    {
                        "status": "error",
                        "category": "OBJECT_NOT_FOUND",
                        "message": message,
                        "context": {"ids": missing},
                    }
                ],
            }
        return web.json_response(answer, status=207 if missing else 200)

    async def _archive(self, request: web.Request) -> web.Response:
        for one in (await request.json())["inputs"]:
            self.contacts.pop(one["id"], None)
        return web.Response(status=204)

    def _find(self, id_property: str, value: str) -> str | None:
        wanted = value.lower() if id_property == "email" else value
        return next((own for own, held in self.contacts.items() if held.get(id_property) == wanted), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _invalid(one: dict[str, Any]) -> str:
    return f'[{{"isValid":false,"error":"INVALID_EMAIL","name":"email","id":"{one["id"]}"}}]'


def _error(status: int, message: str, category: str = "VALIDATION_ERROR") -> web.Response:
    body = {"status": "error", "message": message, "correlationId": "a-b-c", "category": category}
    return web.json_response(body, status=status)
