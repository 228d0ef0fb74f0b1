"""An environment with what Millrace is measured against (others.txt), apart from Millrace's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.stack.home import PROJECT_ROOT

HERE = Path(__file__).parent
_ENVIRONMENT = PROJECT_ROOT / ".millrace" / "benchmarks"


def programs() -> Path:
    """Where its programs lie; made at the first call, by pip as it is set up here. Skips where that fails."""
    wanted = f"{sys.version}\n{(HERE / 'others.txt').read_text()}"
    ready = _ENVIRONMENT / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        command = [sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)]
        install = [str(_ENVIRONMENT / "bin" / "pip"), "install", "-q", "-r", str(HERE / "others.txt")]
        for step in (command, install):
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                why = (done.stderr or done.stdout).strip().splitlines()[-1:]
                pytest.skip(f"dlt and tpchgen-cli cannot be installed here: {' '.join(why)}")
        ready.write_text(wanted)
    return _ENVIRONMENT / "bin"
