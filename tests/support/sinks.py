"""Where alerts arrive in tests: a webhook and a mail server, real ones, which keep what they get."""

from __future__ import annotations

import json
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True)
class Sink:
    """A server, and the messages that it took, as (title, body). While `refuses` holds anything it takes none."""

    port: int
    messages: list[tuple[str, str]] = field(default_factory=list)
    refuses: list[bool] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        return [title for title, _ in self.messages]


@contextmanager
def webhook() -> Iterator[Sink]:
    """An HTTP server that takes what Apprise posts to json://127.0.0.1:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not sink.refuses:
                sink.messages.append((told["title"], told["message"]))
            self.send_response(503 if sink.refuses else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink = Sink(server.server_address[1])
        with _served(server):
            yield sink


@contextmanager
def mailbox() -> Iterator[Sink]:
    """An SMTP server, as much of one as it takes to get a mail."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b"".join(iter(self.rfile.readline, b".\r\n"))
                    mail = message_from_bytes(text, policy=policy.default)
                    body = mail.get_body(("plain", "html"))
                    assert body is not None
                    sink.messages.append((str(mail["Subject"]), body.get_content()))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")
                if verb == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        sink = Sink(server.server_address[1])
        with _served(server):
            yield sink


@contextmanager
def _served(server: Any) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def webhook_address(port: int) -> str:
    return f"json://127.0.0.1:{port}"


def mail_address(port: int) -> str:
    """Of a mail server on this machine, for a mail to the team."""
    return (
        f"mailto://127.0.0.1:{port}/?from=millrace@example.com&to=team@example.com&mode=insecure&format=text"
    )
