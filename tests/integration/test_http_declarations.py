"""What a declaration of an HTTP API can say, against a server on a real socket that answers what it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from include.activation.records import DELIVERED, Difference, Outcome
from include.core.connection import Connection
from include.core.errors import ContractError, TerminalError
from tests.support.http_deliveries import opened, person, record, without
from tests.support.served import served


class Echo:
    """An API of any shape: remembers requests, and answers what it is told."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers, self.requests = list(answers), []  # type: ignore[var-annotated]

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.requests.append(
            (request.method, request.raw_path, json.loads(text) if text else None, request.headers)
        )
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status) if body is not None else web.Response(status=status)


def test_one_request_a_record_when_the_path_speaks_of_one() -> None:
    api = Echo((204, None))
    shape = {
        "upsert": {"method": "PUT", "path": "/v1/{full_name}/{key}", "body": "{record}"},
        "delete": {"method": "DELETE", "path": "/v1/contacts/{key}"},
        "nulls": "omit",
    }
    with (
        served(api.application) as server,
        opened(server.connection(login="me", password="p:w"), api=shape, concurrency=1) as destination,
    ):
        odd = record({"external_id": "a/b?c", "email": None, "full_name": "Å b"}, "a/b?c")
        assert destination.send([odd, person(2), without(3)]) == [DELIVERED] * 3
        sent = {(method, path, json.dumps(body)) for method, path, body, _ in api.requests}
        assert sent == {
            ("PUT", "/v1/%C3%85%20b/a%2Fb%3Fc", '{"external_id": "a/b?c", "full_name": "\\u00c5 b"}'),
            ("PUT", "/v1/Person%202/c2", person(2).body),
            ("DELETE", "/v1/contacts/c3", "null"),
        }
        assert {headers["Authorization"] for *_, headers in api.requests} == {"Basic bWU6cDp3"}


@pytest.mark.parametrize("refers", ["index", "refers"])
def test_errors_beside_the_results_name_a_place_or_a_key(refers: str) -> None:
    error = {"code": "BAD", "message": "no good", "at": 1, "keys": ["c1", "c9"]}
    api = Echo((200, {"problems": [error]}))
    reply = {"errors": "problems"} | ({"index": "at"} if refers == "index" else {"refers": ["key", "keys"]})
    shape = {"upsert": {"path": "/x", "body": "{records}", "record": {"...": "{record}"}, "reply": reply}}
    with served(api.application) as server, opened(server.connection(), api=shape) as destination:
        outcomes = destination.send([person(0), person(1), person(2)])
        assert outcomes == [DELIVERED, Outcome("rejected", "BAD: no good"), DELIVERED]
        assert api.requests[0][2] == [json.loads(person(number).body) for number in range(3)]


def test_errors_that_name_nobody_are_looked_for_by_halving() -> None:
    good, bad = (200, {"errors": []}), (200, {"errors": [{"code": "BAD", "message": "no good"}]})
    api = Echo(bad, good, bad, good)
    shape = {"upsert": {"path": "/x", "body": "{records}", "record": "{key}", "reply": {"errors": "errors"}}}
    with served(api.application) as server, opened(server.connection(), api=shape) as destination:
        # The errors of a whole answer speak for all: the rest of them is what a later answer says.
        outcomes = destination.send([person(0), person(1)])
        assert [body for _, _, body, _ in api.requests] == [["c0", "c1"], ["c0"], ["c1"]]
        assert outcomes == [DELIVERED, Outcome("rejected", "HTTP 200: BAD: no good")]


def test_the_same_batch_has_the_same_idempotency_key_in_one_run() -> None:
    api = Echo((200, None))
    shape = {
        "upsert": {"path": "/x", "body": "{records}", "record": "{record}"},
        "idempotency_header": "Idempotency-Key",
    }
    keys = []
    with served(api.application) as server:
        for _ in range(2):
            with opened(server.connection(), api=shape) as destination:
                for batch in ([person(1)], [person(1)], [person(2)]):
                    destination.send(batch)
        keys = [headers["Idempotency-Key"] for *_, headers in api.requests]
    assert keys[0] == keys[1] != keys[2]
    # Another run does not stand for the one before: the value may have changed and changed back.
    assert keys[3] == keys[4] and len(set(keys)) == 4


def test_reading_back_page_by_page() -> None:
    def page(numbers: range, after: str | None) -> tuple[int, Any]:
        rows = [{"id": f"c{number}", "mail": json.loads(person(number).body)} for number in numbers]
        return 200, {"data": rows, "paging": {"after": after}}

    api = Echo(page(range(3), "c 2"), (429, None), page(range(3, 6), None))
    shape = {
        "upsert": {"path": "/x", "body": "{records}", "record": "{record}"},
        "read": {
            "method": "GET",
            "path": "/contacts?after={next}",
            "found": "data",
            "key": ["id"],
            "properties": "mail",
            "next": "paging.after",
        },
    }
    with served(api.application) as server, opened(server.connection(), api=shape) as destination:
        found = destination.compare([person(1), person(5, email="x"), person(7)])
        assert found == [Difference(), Difference(("email",)), Difference(missing=True)]
        paths = [path for _, path, _, _ in api.requests]
        assert paths == ["/contacts?after=", "/contacts?after=c%202", "/contacts?after=c%202"]


def test_what_a_declaration_does_not_say_cannot_be_done() -> None:
    shape = {"upsert": {"path": "/x", "body": "{records}", "record": "{record}"}}
    with opened(Connection("x", "http", "localhost"), api=shape) as destination:
        assert not destination.can_compare
        with pytest.raises(ContractError, match="add `read` to it"):
            destination.compare([person(1)])
        with pytest.raises(ContractError, match="add `delete` to it"):
            destination.send([without(1)])


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        ((200, {"nothing": []}), "no list at 'results'"),
        ((200, {"results": ["c1"]}), "a result is no object"),
        ((200, None), "no list at 'results'"),
    ],
)
def test_an_answer_of_another_shape_is_terminal(answer: tuple[int, Any], received: str) -> None:
    with served(Echo(answer).application) as server, opened(server.connection(), path="/x") as destination:
        with pytest.raises(TerminalError, match="not answer as declared") as caught:
            destination.send([person(1)])
        assert received in str(caught.value)
