"""Threads of the driver that follow the study while Ray Tune holds the main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["repeating"]


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
