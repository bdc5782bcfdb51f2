"""Schedules: factors on a trial's own learning rate, as pure functions of its own step.

Nothing here knows an absolute rate. A scheduler that writes rates overrides the muP factors of the parameters: Salt
hands MuAdamW to ``OneCycleLR(max_lr=scalar)``, which sets one rate everywhere, and the optimum moves with width again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raytag.config.experiment import TrainingConfig
from raytag.config.hyperparameters import Hyperparameters

__all__ = ["Pace", "pace_of_step"]

# Salt's GN2.yaml: lr from 1e-7 up to 5e-4 and down to 1e-5.
ONE_CYCLE_FIRST = 1e-7 / 5e-4
ONE_CYCLE_LAST = 1e-5 / 5e-4
# OneCycleLR, as Salt calls it, moves β1 from .95 to .85 at the peak and back. Here 1 - β1 swings about the trial's own
# value by the same half: Salt's cycle at β1 = .9, while a searched β1 keeps its meaning.
MOMENTUM_SWING = 0.5


@dataclass(frozen=True)
class Pace:
    """What a schedule says about one step: the factor on every learning rate, and the momentum β1."""

    lr_factor: float
    beta1: float


def pace_of_step(training: TrainingConfig, step: int, hyperparameters: Hyperparameters) -> Pace:
    """Return the pace of a trial's own step, counted from 0 to ``num_steps - 1``.

    But for ``one_cycle`` and ``constant``, a schedule first rises linearly over the warm-up steps.
    """
    num_steps = training.num_steps
    assert 0 <= step < num_steps, f"step {step} is not one of {num_steps}"
    if training.schedule == "one_cycle":
        return _one_cycle(step, num_steps, hyperparameters)
    num_warmup = round(hyperparameters.warmup_fraction * num_steps)
    match training.schedule:
        case "constant":
            factor = 1.0
        case _ if step < num_warmup:
            factor = (step + 1) / num_warmup  # the first step is already above 0
        case "warmup_cosine":
            factor = _cosine_restarts(step - num_warmup, num_steps - num_warmup, num_cycles=1)
        case "cosine_restarts":
            factor = _cosine_restarts(step - num_warmup, num_steps - num_warmup, training.num_cycles)
        case "warmup_stable_decay":
            num_decay = min(round(hyperparameters.decay_fraction * num_steps), num_steps - num_warmup)
            factor = _stable_decay(num_steps - step, num_decay)
    return Pace(factor, hyperparameters.beta1)


def _one_cycle(step: int, num_steps: int, hyperparameters: Hyperparameters) -> Pace:
    """Follow ``torch.optim.lr_scheduler.OneCycleLR`` with two cosine phases (Smith & Topin, arXiv:1708.07120).

    ``warmup_fraction`` is its ``pct_start``. Where the first phase has no length OneCycleLR divides by zero; here the
    trial then starts at the peak.
    """
    peak = hyperparameters.warmup_fraction * num_steps - 1
    slow = 1 - (1 - MOMENTUM_SWING) * (1 - hyperparameters.beta1)
    fast = max(0.0, 1 - (1 + MOMENTUM_SWING) * (1 - hyperparameters.beta1))
    if step <= peak:
        progress = step / peak if peak > 0 else 1.0
        return Pace(_cosine(ONE_CYCLE_FIRST, 1.0, progress), _cosine(slow, fast, progress))
    progress = (step - max(peak, 0.0)) / (num_steps - 1 - max(peak, 0.0)) if num_steps > 1 else 0.0
    return Pace(_cosine(1.0, ONE_CYCLE_LAST, progress), _cosine(fast, slow, progress))


def _cosine_restarts(step: int, num_steps: int, num_cycles: int) -> float:
    """Fall along cosines of equal length from 1 towards 0 (SGDR, Loshchilov and Hutter, arXiv:1608.03983)."""
    return _cosine(1.0, 0.0, step * num_cycles % num_steps / num_steps)


def _stable_decay(num_left: int, num_decay: int) -> float:
    """Stay at 1 until the last ``num_decay`` steps, then fall towards 0 as 1 - √progress.

    Warm-up, stable, decay is the schedule of MiniCPM (Hu et al., arXiv:2404.06395); this shape of the decay was the
    best of those that Hägele et al. (arXiv:2405.18392) compared, over the last 20 % of the steps.
    """
    return 1 - math.sqrt(1 - num_left / num_decay) if num_left < num_decay else 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    """Go from start to end along half a cosine as progress goes from 0 to 1."""
    return end + (start - end) / 2 * (math.cos(math.pi * progress) + 1)
