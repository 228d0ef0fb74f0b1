"""How the streams of a load are shared out among tasks that work side by side.

A task costs about a second before it does anything, so not every small table can have one of its own. A big one has,
if there is a task for it.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Tasks side by side, for a step of a load.
LANES = 4
#: What a stream costs whatever its size, as so many bytes of parts: a table, a COPY, an audit.
_EACH = 2 * 1024 * 1024


def shared_out(streams: Mapping[str, int], lanes: int = LANES) -> list[list[str]]:
    """The streams of each lane, such that all take about as long: the biggest first, each to the lane with least to do.

    :param streams: with the bytes that each has landed.
    """
    shares: list[list[str]] = [[] for _ in range(lanes)]
    loads = [0] * lanes
    for stream in sorted(streams, key=lambda name: (-streams[name], name)):
        lane = loads.index(min(loads))
        shares[lane].append(stream)
        loads[lane] += streams[stream] + _EACH
    return shares


def title(streams: list[str], limit: int = 3) -> str:
    """A few streams by their names, more as a number."""
    more = f" and {len(streams) - limit} more" if len(streams) > limit else ""
    return ", ".join(streams[:limit]) + more
