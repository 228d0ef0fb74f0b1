"""Secrets are generated once, private from the first moment, and kept when new ones join."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from include.stack import secrets


def test_only_the_owner_can_read_them_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secrets.load_or_create(tmp_path / "secrets.env")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secrets.env").stat().st_mode) == 0o600


def test_they_stay_the_same_and_a_missing_one_is_added(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    first = secrets.load_or_create(file)
    assert secrets.load_or_create(file) == first
    kept = [line for line in file.read_text().splitlines() if not line.startswith("S3_SECRET_KEY=")]
    file.write_text("\n".join(kept) + "\n")
    second = secrets.load_or_create(file)
    assert second.keys() == first.keys()
    assert {name for name in first if first[name] != second[name]} == {"S3_SECRET_KEY"}


def test_two_clones_share_none(tmp_path: Path) -> None:
    first, second = (secrets.load_or_create(tmp_path / name) for name in ("a", "b"))
    assert not set(first.values()) & set(second.values())


def test_an_env_file_as_people_write_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# note\n\nexport A=1\nB = \"two words\"\nC='x=y#z'\n#D=4\nE=\n")
    assert secrets.read_env_file(file) == {"A": "1", "B": "two words", "C": "x=y#z", "E": ""}
