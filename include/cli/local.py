"""Commands for the local stack: up, down, status, logs, reset."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from include.stack.home import Home
    from include.stack.state import UnitState

_PANEL = "Local stack"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (up, down, status, logs, reset):
        app.command(rich_help_panel=_PANEL)(command)


def up() -> None:
    """Start Postgres, S3 and Airflow, and wait until all of it is healthy.

    What already runs stays as it is; what failed is tried again. A port in use is replaced by a free one.
    Everything listens on this machine only. State, logs and generated passwords are in .millrace/.
    """
    from include.stack import control

    home = _home()
    control.up(home, typer.echo)
    typer.secho(f"ready: {control.login_help(home)}", fg=typer.colors.GREEN)


def down() -> None:
    """Stop everything that `up` started; data stays."""
    from include.stack import control

    control.down(_home(), typer.echo)


def status() -> None:
    """Show every service: state, address, process, uptime, restarts. Exit code 1 unless all are healthy."""
    from include.stack import control
    from include.stack.state import StackState

    home = _home()
    if not control.running(home):
        typer.echo("not running; start it with: millrace up")
        raise typer.Exit(1)
    now = StackState.read(home.state_file)
    sick = control.not_answering(home, now)
    typer.echo(f"{'service':<14} {'state':<14} {'address':<17} {'pid':>7} {'up':>8} {'restarts':>8}")
    for name, unit in now.units.items():
        typer.echo(_line(name, unit, name in sick))
    typer.echo(control.login_help(home))
    if sick or not now.ready():
        raise typer.Exit(1)


def _line(name: str, unit: UnitState, sick: bool) -> str:
    state = "not answering" if sick else unit.state
    address = f"127.0.0.1:{unit.port}" if unit.port else ""
    lives = unit.state in ("healthy", "starting") and unit.started is not None
    uptime = f"{time.time() - (unit.started or 0):.0f} s" if lives else ""
    pid = str(unit.process.pid) if lives and unit.process else ""
    reason = f"  {unit.reason}" if unit.reason and unit.state != "done" else ""
    return f"{name:<14} {state:<14} {address:<17} {pid:>7} {uptime:>8} {unit.restarts or '':>8}{reason}"


def logs(
    service: Annotated[str, typer.Argument(help="One service or step, as `millrace status` names it.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many lines from the end.")] = 40,
) -> None:
    """Show the end of the logs, of one service or of all.

    Examples: millrace logs scheduler -f     millrace logs -n 5
    """
    from include.stack.errors import StackError

    home = _home()
    files = sorted(home.logs.glob(f"{service or '*'}.log"))
    if not files:
        known = ", ".join(sorted(file.stem for file in home.logs.glob("*.log")))
        raise StackError(
            "there is no such log", where=str(home.logs), received=service, allowed=known or "none yet"
        )
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, files)]
    os.execvp(command[0], command)


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """Delete all local state: databases, landing zone, logs and generated passwords. Asks first."""
    from include.stack import control

    home = _home()
    if not home.path.exists():
        typer.echo("nothing to delete")
        return
    if not yes:
        typer.confirm(f"Delete everything in {home.path}?", abort=True)
    control.reset(home)
    typer.echo(f"deleted {home.path}")


def _home() -> Home:
    from include.stack.home import Home

    return Home.locate()
