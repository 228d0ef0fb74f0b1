"""The supervisor with real Postgres and S3: starts, stops, restarts, recovers, stays out of others' way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from include.stack import control, postgres
from include.stack.errors import StackError
from include.stack.home import Home
from include.stack.processes import Identity
from include.stack.state import FAILED, HEALTHY, StackState
from tests.support.stack import Stack


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    """Makes state directories; what runs in them is stopped after the test."""
    made: list[Home] = []

    def make(name: str = "home") -> Home:
        made.append(Home(tmp_path / name))
        return made[-1]

    yield make
    for home in made:
        control.down(home, lambda _line: None)
        if home.path.exists():
            control.reset(home)


def _up(home: Home) -> list[str]:
    lines: list[str] = []
    control.up(home, lines.append, profile="throw-away")
    return lines


def _state(home: Home) -> StackState:
    return StackState.read(home.state_file)


def _pid(home: Home, service: str) -> int:
    process = _state(home).units[service].process
    assert process is not None
    return process.pid


def _answers(home: Home) -> bool:
    with psycopg.connect(Stack(home).postgres.conninfo()) as session:
        return session.execute("select 1").fetchone() == (1,)


def _processes_of(home: Home) -> list[str]:
    """Everything on this machine that names the state directory in its command line or works in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        text = " ".join(process.info["cmdline"] or []) + " " + (process.info["cwd"] or "")
        if str(home.path) in text:
            found.append(text)
    return found


def _eventually(true: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return False


def test_up_reports_each_service_and_down_leaves_nothing(new_home: Callable[..., Home]) -> None:
    home = new_home()
    lines = _up(home)
    assert any("postgres" in line and "healthy on 127.0.0.1:" in line for line in lines)
    assert _answers(home)
    control.down(home, lines.append)
    assert lines[-1] == "everything is stopped"
    assert _processes_of(home) == []


def test_up_again_changes_nothing(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    before = (_pid(home, "postgres"), _pid(home, "s3"))
    _up(home)
    assert (_pid(home, "postgres"), _pid(home, "s3")) == before


def test_data_ports_and_passwords_outlive_a_restart(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    server = Stack(home).postgres
    with psycopg.connect(server.conninfo()) as session:
        session.execute("create table kept as select 42 as answer")
    control.down(home)
    _up(home)
    assert Stack(home).postgres == server
    with psycopg.connect(server.conninfo()) as session:
        assert session.execute("select answer from kept").fetchone() == (42,)


@pytest.mark.parametrize("service", ["postgres", "s3"])
def test_a_killed_service_is_started_again(new_home: Callable[..., Home], service: str) -> None:
    home = new_home()
    _up(home)
    first = _pid(home, service)
    os.kill(first, signal.SIGKILL)
    assert _eventually(lambda: _state(home).units[service].state == HEALTHY and _pid(home, service) != first)
    assert _state(home).units[service].restarts == 1
    assert _answers(home)


def test_after_the_death_of_the_supervisor_up_takes_over(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    orphans = [Identity.of(_pid(home, service)) for service in ("postgres", "s3")]
    supervisor = _state(home).supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert _eventually(lambda: not control.running(home))
    assert all(process.alive() for process in orphans)
    lines = _up(home)
    assert any("left running" in line for line in lines)
    assert not any(process.alive() for process in orphans)
    assert _answers(home)


def test_after_the_death_of_the_supervisor_down_clears_up(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    supervisor = _state(home).supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert _eventually(lambda: not control.running(home))
    control.down(home)
    assert _processes_of(home) == []


def test_a_stranger_with_a_recorded_number_is_left_alone(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    control.down(home)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        state = _state(home)
        recorded = state.units["s3"].process
        assert recorded is not None
        state.units["s3"].process = replace(recorded, pid=stranger.pid)
        state.write(home.state_file)
        control.down(home)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_start_that_was_cut_off_is_finished_by_the_next(new_home: Callable[..., Home]) -> None:
    home = new_home()
    home.create()
    # what an initdb that was killed leaves behind
    (home.postgres / "new" / "base").mkdir(parents=True)
    (home.postgres / "new" / "PG_VERSION").write_text("18\n")
    (home.postgres / "password").write_text("half")
    _up(home)
    assert _answers(home)


def test_a_service_that_cannot_start_is_named_with_its_last_lines(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    control.down(home)
    version = home.postgres / "data" / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(StackError, match=r"postgres .*2 times in a row") as caught:
        _up(home)
    assert "not compatible" in str(caught.value)
    assert not control.running(home)
    version.write_text("18\n")
    _up(home)
    assert _answers(home)


def test_a_program_that_cannot_be_run_fails_alone(new_home: Callable[..., Home], tmp_path: Path) -> None:
    """As the programs of an environment that was moved: it is there, and the interpreter that it names is not."""
    home, program = new_home(), tmp_path / "moved"
    program.write_text(f"#!{tmp_path}/gone/bin/python\n")
    program.chmod(0o755)
    script = (
        "from include.stack import supervisor; from include.stack.units import PROFILES, Launch, Unit;"
        f"PROFILES['throw-away'] += (Unit('moved', lambda _context: Launch([{str(program)!r}])),);"
        "supervisor.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "--profile", "throw-away"],
        env={**os.environ, "MILLRACE_HOME": str(home.path)},
        start_new_session=True,
    )
    try:
        assert _eventually(
            lambda: home.state_file.exists() and _state(home).units["postgres"].state == HEALTHY
        )
        failed = _state(home).units["moved"]
        assert failed.state == FAILED
        assert str(program) in failed.reason
        assert "make setup" in home.log("moved").read_text()
        assert _answers(home)
    finally:
        control.down(home)
        process.wait(60)


def test_a_used_port_is_avoided(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    port = Stack(home).ports["postgres"]
    control.down(home)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen(1)
        lines = _up(home)
    assert any(f"{port} is in use" in line for line in lines)
    assert Stack(home).ports["postgres"] != port
    assert _answers(home)


def test_two_clones_started_at_once_do_not_collide(new_home: Callable[..., Home], tmp_path: Path) -> None:
    homes = [new_home("a"), new_home("b")]
    script = (
        "from include.stack import control; from include.stack.home import Home;"
        "control.up(Home.locate(), profile='throw-away')"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "MILLRACE_HOME": str(home.path)})
        for home in homes
    ]
    assert [start.wait(60) for start in starts] == [0, 0]
    assert not set(Stack(homes[0]).ports.values()) & {
        Stack(homes[1]).ports[service] for service in ("postgres", "s3")
    }
    control.down(homes[0])
    assert _answers(homes[1])


def test_the_stack_ends_with_the_process_that_it_was_started_for(new_home: Callable[..., Home]) -> None:
    home = new_home()
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    control.up(home, profile="throw-away", watch=owner.pid)
    owner.kill()
    owner.wait()
    assert _eventually(lambda: not control.running(home) and _processes_of(home) == [])


def test_nothing_listens_beyond_loopback(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    listening = Stack(home).listening()
    assert {address for address, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening} == {Stack(home).ports[name] for name in ("postgres", "s3")}


def test_reset_refuses_while_it_runs(new_home: Callable[..., Home]) -> None:
    home = new_home()
    _up(home)
    with pytest.raises(StackError, match="is running"):
        control.reset(home)
    control.down(home)
    control.reset(home)
    assert not home.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change to another account")
def test_root_without_user_namespaces_runs_postgres_as_nobody(
    new_home: Callable[..., Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home()
    # a machine without the program is what a machine without the right looks like to us
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    home.create()
    assert postgres.account(home).prefix == ()
    home_elsewhere = Path((home.path / "postgres.elsewhere").read_text().strip())
    _up(home)
    assert psutil.Process(_pid(home, "postgres")).username() == "nobody"
    assert _answers(home)
    control.down(home)
    _up(home)
    assert _answers(home)
    control.down(home)
    control.reset(home)
    assert not home_elsewhere.exists()
