"""Threads of the driver: what goes on while Ray, or Ray Tune, holds the main one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["begin", "repeating"]

T = TypeVar("T")


def begin(action: Callable[[], T]) -> Future[T]:
    """Start an action in a thread; the future waits for what it returns, and raises what it raised.

    A thread pool would do the same, but the process could not end before the action does.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # whoever waits raises it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def repeating(action: Callable[[], None], every_seconds: float, patience_seconds: float = 5) -> Iterator[None]:
    """Repeat an action in a thread while the block runs; at its end, wait a little for one that is under way."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            action()
            stop.wait(every_seconds)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(patience_seconds)
