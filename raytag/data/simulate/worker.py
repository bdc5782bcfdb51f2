"""What a worker process does: make one part file, report how many jets it holds."""

from __future__ import annotations

import os
import signal
import threading
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path

from raytag.data.simulate.chunk import simulate_chunk
from raytag.data.simulate.pileup import MinimumBiasPool, load_part, make_minimum_bias, save_part
from raytag.data.simulate.settings import Settings

__all__ = ["make_chunk", "make_pool_part", "start"]


def start() -> None:
    """Prepare a worker: Ctrl-C is the parent's business, and a worker without its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def make_pool_part(settings: Settings, part: int, num_events: int, path: Path) -> None:
    """Write one part of the minimum-bias pool."""
    draft = path.with_suffix(".draft")
    save_part(draft, make_minimum_bias(settings.seed, part, num_events), num_events)
    draft.replace(path)


def make_chunk(settings: Settings, chunk: int, pool_paths: tuple[Path, ...], path: Path) -> int:
    """Write one chunk; return its number of jets."""
    packed = simulate_chunk(settings, chunk, _pool(pool_paths))
    draft = path.with_suffix(".draft")
    packed.save(draft)
    draft.replace(path)
    return packed.num_jets


@lru_cache(maxsize=1)
def _pool(paths: tuple[Path, ...]) -> MinimumBiasPool:
    return MinimumBiasPool.join([load_part(path) for path in paths])


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "workers are started by multiprocessing"
    parent.join()
    os._exit(1)
