"""Threads of the driver."""

import threading

import pytest

from raytag.errors import RaytagError
from raytag.search.watching import begin, repeating


def test_what_was_begun_goes_on_beside_its_beginner_and_returns():
    may_end = threading.Event()
    begun = begin(lambda: may_end.wait(60))
    assert not begun.done()
    may_end.set()
    assert begun.result(60)


def test_what_was_begun_raises_where_it_is_waited_for():
    def fail():
        raise RaytagError("no such server")

    begun = begin(fail)
    for _ in range(2):
        with pytest.raises(RaytagError, match="no such server"):
            begun.result(60)


def test_a_repeated_action_ends_with_its_block():
    seen = threading.Event()
    with repeating(seen.set, every_seconds=0.001):
        assert seen.wait(60)
    seen.clear()
    assert not seen.wait(0.05)
