"""Ports are kept, avoided when used, and never shared by two clones."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from include.stack import ports
from include.stack.errors import StackError


@contextmanager
def _server(port: int = 0) -> Iterator[int]:
    with socket.socket() as server:
        server.bind((ports.LOOPBACK, port))
        server.listen(1)
        yield server.getsockname()[1]


def _wants(folder: Path, port: int) -> Path:
    file = folder / "ports.json"
    file.write_text(json.dumps({"s3": port}))
    return file


def test_a_used_port_is_avoided_reported_and_the_new_one_kept(tmp_path: Path) -> None:
    with _server() as used:
        file = _wants(tmp_path, used)
        chosen = ports.choose(file, ("s3",))
        chosen.release()
        assert chosen.numbers["s3"] > used
        assert f"{used} is in use" in chosen.moved["s3"]
    again = ports.choose(file, ("s3",))
    again.release()
    assert again.numbers["s3"] == chosen.numbers["s3"]
    assert again.moved == {}


def test_two_clones_that_choose_at_once_get_different_ports(tmp_path: Path) -> None:
    with _server() as free:
        pass
    (tmp_path / "b").mkdir()
    first = ports.choose(_wants(tmp_path, free), ("s3",))
    second = ports.choose(_wants(tmp_path / "b", free), ("s3",))
    first.release()
    second.release()
    assert first.numbers["s3"] == free
    assert second.numbers["s3"] != free


def test_the_claim_leaves_the_port_to_the_service(tmp_path: Path) -> None:
    with _server() as free:
        pass
    chosen = ports.choose(_wants(tmp_path, free), ("s3",))
    with _server(chosen.numbers["s3"]) as port:
        assert ports.in_use(port)
    chosen.release()


def test_no_free_port_says_where_to_choose_another_range(tmp_path: Path) -> None:
    file = _wants(tmp_path, 65535)
    with _server(65535), pytest.raises(StackError, match="65535 to 65535") as caught:
        ports.choose(file, ("s3",))
    assert str(file) in str(caught.value)
