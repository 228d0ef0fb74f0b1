"""Channels: one message to several, a dead one reported through the next. Nothing here raises: no alert is worth a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Literal

from include.core.connection import Connection
from include.core.errors import MillraceError

log = logging.getLogger("millrace.alerts")
Level = Literal["failure", "warning", "info", "success"]
Connect = Callable[[str], Connection]


def send(
    channels: Sequence[str],
    title: str,
    body: str,
    connect: Connect,
    *,
    level: Level = "failure",
    spare: Sequence[str] = (),
) -> bool:
    """Send to each channel. One that is dead is reported, with the message, through the next of these or of the spare ones.

    :returns: whether the message is with anybody, or with all that it was meant for because that is nobody.
    """
    log.warning("ALERT %s\n%s", title, body)
    dead = {
        channel: why for channel in channels if (why := undelivered(channel, title, body, connect, level))
    }
    for channel, why in dead.items():
        log.error("alert channel %r is dead, it did not take the alert above: %s", channel, why)
    if not dead:
        return True
    names = ", ".join(map(repr, dead))
    report = f"alert channel {names} is dead; it did not take: {title}"
    reasons = "\n".join(f"Channel {channel}: {why}" for channel, why in dead.items())
    note = (
        f"{reasons}\nWhat to do: correct the Airflow connection, then: millrace alert test DAG_ID\n\n{body}"
    )
    others = [one for one in _after(next(iter(dead)), (*channels, *spare)) if one not in dead]
    told = any(not undelivered(other, report, note, connect, level) for other in others)
    if not told:
        log.error("no alert channel is left that could tell that %s is dead", names)
    return told or len(dead) < len(channels)


def _after(channel: str, channels: Sequence[str]) -> list[str]:
    """The channels in the order in which they stand in for this one."""
    order = list(dict.fromkeys(channels))
    place = order.index(channel)
    return order[place + 1 :] + order[:place]


def undelivered(channel: str, title: str, body: str, connect: Connect, level: Level) -> str:
    """Why a channel did not take a message; empty when it did. Says no part of its address, which may be a secret."""
    try:
        return _notify(channel, title, body, connect, level)
    except (
        Exception
    ) as error:  # whatever is wrong with a channel must not hide the failure that it should tell of
        return error.what if isinstance(error, MillraceError) else f"it is broken ({type(error).__name__})"


def _notify(channel: str, title: str, body: str, connect: Connect, level: Level) -> str:
    import apprise

    from include.alerts import alertlog  # noqa: F401  # registers alertlog:// with Apprise

    config = connect(channel).extra["config"]
    entries = json.loads(config) if isinstance(config, str) else config
    notifier = apprise.Apprise()
    for entry in entries if isinstance(entries, list) else [entries]:
        if not notifier.add(entry["path"], tag=entry.get("tag")):
            return "it has an address that Apprise does not know"
    if not len(notifier):
        return "it has no address"
    taken = notifier.notify(body=body, title=title, notify_type=apprise.NotifyType(level))
    return "" if taken else "it did not take the message"
