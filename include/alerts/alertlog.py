"""`alertlog:///path/to/file` as an address for alerts: appends them to a file, so that one sees alerts work without
having an account anywhere."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote

from apprise.decorators import notify


@notify(on="alertlog", name="File")
def append(body: str, title: str, notify_type: Any, meta: dict[str, Any], *args: Any, **kwargs: Any) -> bool:
    """Append one alert, in one write so that two tasks do not mix theirs."""
    # Apprise takes the path's first folder for a host.
    path = "/" + unquote(meta["host"] + meta["fullpath"])
    text = "\n  ".join(f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} {title}\n{body}".splitlines())
    with open(path, "a", encoding="utf-8") as file:
        file.write(text + "\n\n")
    return True
