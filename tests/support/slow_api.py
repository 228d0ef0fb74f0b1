"""A plain batch upsert that takes a fixed time for each answer and keeps nothing: what throughput is measured against.

python -m tests.support.slow_api --port 8091 --latency 0.2
"""

from __future__ import annotations

import argparse
import asyncio

import orjson
from aiohttp import web


def application(latency: float) -> web.Application:
    async def upsert(request: web.Request) -> web.Response:
        begun = asyncio.get_running_loop().time()
        records = orjson.loads(await request.read())["records"]
        body = orjson.dumps({"results": [{"id": record["id"]} for record in records]})
        await asyncio.sleep(max(0.0, begun + latency - asyncio.get_running_loop().time()))
        return web.Response(body=body, content_type="application/json")

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/upsert", upsert)
    app.router.add_get("/health", health)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency", type=float, required=True)
    arguments = parser.parse_args()
    web.run_app(
        application(arguments.latency), host="127.0.0.1", port=arguments.port, access_log=None, print=None
    )
