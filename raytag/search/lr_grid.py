"""Which learning rates a width still wants: a grid around the best rate, found from what is finished.

The grid goes by factors of 2 from the space's low to its high. It is extended by one factor of 2 at a time until the
best rate has neighbours on both sides, and halved to factors of √2 around it, so that a parabola in log2(lr) over the
best rate and two neighbours on each side has support. Where an octave beside it diverged, one on the other side takes
its place in the parabola. A rate is an index here, the number of half octaves above low: no two floats are compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping

from raytag.config.space import LogUniform
from raytag.report.transfer_curves import POINTS_OF_FIT

__all__ = ["RATES_OF_A_ROUND", "wanted_rates"]

OCTAVE = 2  # half octaves
RATES_OF_A_ROUND = 2  # after the grid: one on each side of the best


def wanted_rates(
    space: LogUniform, finished: Mapping[float, float], pending: Collection[float], limit: int
) -> list[float]:
    """Return the learning rates that can be begun now; none if the search is over, or has to wait for pending ones.

    The search goes in rounds: the grid, then the neighbours that the best rate so far lacks, first those an octave
    away, then those half an octave away, then what a parabola lacks. A round begins when the last one is finished, so
    the rates that are tried at the end follow from their objectives alone, and not from which of them was finished
    first or on how many workers. Of equal objectives the lower rate is the better one; where all have diverged, the
    search goes down.

    Parameters
    ----------
    space
        Its low and the multiples of it by powers of 2 up to its high are the grid.
    finished
        Learning rate → objective; inf for a trial that diverged or was stopped early, which is a neighbour like others;
        NaN for one that broke off. Such a rate is not tried again and says nothing: an octave beyond it takes its place
        as a neighbour, and where there are no others the search is over.
    pending
        Rates that have been begun and are not finished.
    limit
        The most rates of a width, those of the grid included.
    """
    low = space.low
    objectives = {_index(low, lr): objective for lr, objective in finished.items()}
    begun = objectives.keys() | {_index(low, lr) for lr in pending}
    known: dict[int, float] = {}
    wanted = [OCTAVE * octave for octave in range(space.num_octaves + 1)][:limit]
    while wanted:
        if not objectives.keys() >= set(wanted):
            return [_rate(low, index) for index in wanted if index not in begun]
        known |= {index: objectives[index] for index in wanted}
        wanted = _missing_neighbours(known)[: limit - len(known)]
    return []


def _missing_neighbours(known: Mapping[int, float]) -> list[int]:
    """Return the nearest rates around the best one that are not known: an octave away, else half an octave away."""
    measured = [index for index in known if not math.isnan(known[index])]
    if not measured:
        return []
    best = min(measured, key=lambda index: (known[index], index))
    octaves = [_first_measurable(known, best, step) for step in (-OCTAVE, OCTAVE)]
    halves = [best - OCTAVE // 2, best + OCTAVE // 2]
    for neighbours in (octaves, halves):
        if missing := [index for index in neighbours if index not in known]:
            return missing
    return _missing_of_parabola(known, best) if all(math.isfinite(known[index]) for index in halves) else []


def _missing_of_parabola(known: Mapping[int, float], best: int) -> list[int]:
    """Return the nearest rate on a side of the best one where none diverged, if fewer than five are finite."""
    if sum(map(math.isfinite, known.values())) >= POINTS_OF_FIT:
        return []
    sides = [step for step in (-1, 1) if not any(math.isinf(known[i]) and (i - best) * step > 0 for i in known)]
    nearest = [next(index for index in itertools.count(best, step) if index not in known) for step in sides]
    return sorted(nearest, key=lambda index: (abs(index - best), index))[:1]


def _first_measurable(known: Mapping[int, float], best: int, step: int) -> int:
    """Return the first rate in steps from the best one of which more is known, or can be, than that it broke off."""
    index = best + step
    while math.isnan(known.get(index, 0.0)):
        index += step
    return index


def _index(low: float, lr: float) -> int:
    return round(OCTAVE * math.log2(lr / low))


def _rate(low: float, index: int) -> float:
    return low * math.exp2(index / OCTAVE)
