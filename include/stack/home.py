"""Where one clone keeps what it must not commit: data, logs, secrets, ports, the state of its processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.stack.errors import StackError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
#: What dbt wrote of its project: `millrace up` and the image's build have it written.
DBT_MANIFEST = PROJECT_ROOT / "dbt_project" / "target" / "manifest.json"


@dataclass(frozen=True)
class Home:
    """The state directory (`.millrace`) and the files in it. `root` is the project that it belongs to."""

    path: Path
    root: Path = PROJECT_ROOT

    @classmethod
    def locate(cls, env: Mapping[str, str] | None = None) -> Home:
        """The state directory of this clone: MILLRACE_HOME when set, else `.millrace` in the project root."""
        chosen = (os.environ if env is None else env).get("MILLRACE_HOME")
        return cls(Path(chosen).expanduser().resolve() if chosen else PROJECT_ROOT / ".millrace")

    @property
    def env_file(self) -> Path:
        """The user's own settings: `.env` in the project root, or the file that MILLRACE_ENV_FILE names."""
        return Path(os.environ.get("MILLRACE_ENV_FILE") or self.root / ".env")

    @property
    def secrets_file(self) -> Path:
        return self.path / "secrets.env"

    @property
    def ports_file(self) -> Path:
        return self.path / "ports.json"

    @property
    def state_file(self) -> Path:
        return self.path / "run" / "state.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "run" / "supervisor.lock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def s3(self) -> Path:
        return self.path / "s3"

    @property
    def airflow(self) -> Path:
        return self.path / "airflow"

    @property
    def contacts_api_db(self) -> Path:
        return self.path / "contacts_api.sqlite"

    def log(self, service: str) -> Path:
        """The log file of one service."""
        return self.logs / f"{service}.log"

    def create(self) -> None:
        """Make the directories, closed to other users.

        :raises StackError: the directory belongs to another user.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.path.stat().st_uid
        if owner != os.geteuid():
            raise StackError(
                "the state directory belongs to another user",
                where=str(self.path),
                received=f"owner uid {owner}, running as uid {os.geteuid()}",
                todo="run as that user, or choose a directory of your own with MILLRACE_HOME",
            )
        for directory in (self.logs, self.state_file.parent, self.s3 / "landing", self.airflow):
            directory.mkdir(parents=True, exist_ok=True)
