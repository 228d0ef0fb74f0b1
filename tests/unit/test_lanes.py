"""How the streams of a load are shared out among tasks."""

from __future__ import annotations

import pytest

from include.core.lanes import LANES, shared_out, title

MB = 1024 * 1024


def test_a_big_stream_has_a_task_of_its_own_and_small_ones_share_the_others() -> None:
    streams = {"orders": 900 * MB, **{f"small_{number}": 0 for number in range(30)}}
    shares = shared_out(streams)
    assert shares[0] == ["orders"]
    assert [len(share) for share in shares[1:]] == [10] * (LANES - 1)


def test_two_hundred_small_ones_are_four_tasks() -> None:
    assert [len(share) for share in shared_out(dict.fromkeys(map(str, range(200)), 40_000))] == [50] * 4


def test_the_same_streams_are_shared_out_in_the_same_way_whatever_their_order() -> None:
    streams = {"a": 3, "b": 5 * MB, "c": 5 * MB, "d": 7, "e": 20 * MB}
    assert shared_out(streams) == shared_out(dict(reversed(streams.items())))


@pytest.mark.parametrize("streams", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}])
@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_each_stream_has_one_task_also_where_there_are_fewer_tasks_than_shares(
    streams: dict[str, int], tasks: int
) -> None:
    shares = shared_out(streams)
    assert len(shares) == LANES
    taken = [name for task in range(tasks) for share in shares[task::tasks] for name in share]
    assert sorted(taken) == sorted(streams)


def test_a_task_is_called_by_its_streams() -> None:
    assert title(["orders"]) == "orders"
    assert title(["a", "b", "c"]) == "a, b, c"
    assert title(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert title([]) == ""
