"""The learning rate at which a gate's model still trains steadily, for optimizers that move by their gradients.

A step of AdamW, Lion or Muon is as large as its rate; one of SGD is as large as its gradients, which go with the model
and the data. At a rate that is right for one model another breaks, at any width; at a tenth of the rate that it bears,
single seeds outweigh all others. So the gate asks the smallest model how much it bears.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raytag.config.experiment import Optimizer

__all__ = ["MOVES_BY_GRADIENTS", "TrainAtRate", "steady_rate"]

#: The optimizers whose steps grow with the gradients.
MOVES_BY_GRADIENTS: tuple[Optimizer, ...] = ("sgd",)
NUM_SEEDS = 12
# Times the loss of the untrained model on the same batch. With twice the loss 1 of 12 draws of GN2 failed, of 1.5 none.
MAX_RISE = 1.5
# At 1e-9 of the rate nothing moves.
MAX_HALVINGS = 30

#: Trains the model of a seed at a learning rate and returns its loss before each step, NaN once it has broken.
TrainAtRate = Callable[[int, float], Sequence[float]]


def steady_rate(train: TrainAtRate, highest: float) -> float:
    """Return ``highest``, or the first of its halves at which no loss is above 1.5 times the untrained model's.

    It is the last half if there is none: then the model breaks whatever its rate.
    """
    untrained = [train(seed, 0.0) for seed in range(NUM_SEEDS)]
    rates = [highest * 0.5**halvings for halvings in range(MAX_HALVINGS + 1)]

    def is_steady(rate: float) -> bool:
        return all(
            loss <= MAX_RISE * reference  # not so for NaN
            for seed, references in enumerate(untrained)
            for loss, reference in zip(train(seed, rate), references, strict=True)
        )

    return next(filter(is_steady, rates), rates[-1])
