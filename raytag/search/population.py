"""Population-based training: which trials of a population give up, whom they copy, and what they change.

Truncation selection and perturbation after Jaderberg et al., arXiv:1711.09846: at the end of a generation the worst
fifth take over the parameters and hyperparameters of one of the best fifth and multiply each hyperparameter by 0.8 or
1.2. Everything follows from the objectives and a seed, so a search that was killed decides the same again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raytag.config.hyperparameters import Hyperparameters
from raytag.config.space import Categorical, SearchSpace
from raytag.records import Move

__all__ = ["PERTURBED", "evolve"]

REPLACED_SHARE = 0.2
FACTORS = (0.8, 1.2)

#: What is perturbed if it is searched. The rest shapes the start or the schedule of a training, which have passed, or
#: are part of its moments; a copy takes these over as they are.
PERTURBED = frozenset(
    {
        "lr",
        "weight_decay",
        "clip_norm",
        "dropout",
        "label_smoothing",
        "alpha_output",
        "alpha_attention",
        "loss_weight_jet_classification",
        "loss_weight_track_origin",
        "loss_weight_vertexing",
    }
)


def evolve(
    objectives: Mapping[str, float], hyperparameters: Mapping[str, Hyperparameters], space: SearchSpace, seed: int
) -> dict[str, Move]:
    """Return the moves of the trials that give up at the end of a generation; of fewer than two trials, none.

    Parameters
    ----------
    objectives
        Trial → objective at the generation's last step; the lowest is the best.
    hyperparameters
        Trial → what it was trained with in this generation.
    space
        Perturbed values stay inside its ranges.
    seed
        Of the choice of sources and factors.
    """
    ranked = sorted(objectives, key=lambda name: (objectives[name], name))
    num_replaced = min(max(1, round(REPLACED_SHARE * len(ranked))), len(ranked) // 2)
    random = np.random.default_rng(seed)
    moves = {}
    for loser in ranked[len(ranked) - num_replaced :]:
        source = ranked[random.integers(num_replaced)]
        moves[loser] = Move(source, _perturb(hyperparameters[source], space, random))
    return moves


def _perturb(hyperparameters: Hyperparameters, space: SearchSpace, random: np.random.Generator) -> Hyperparameters:
    """Multiply each searched value by one of the two factors, within its range; a choice moves to a neighbour."""
    changed = {}
    for name, distribution in space.root.items():
        if name not in PERTURBED:
            continue
        upward = int(random.integers(2))
        value = getattr(hyperparameters, name)
        if isinstance(distribution, Categorical):
            choices = sorted(distribution.choices)
            changed[name] = choices[min(max(choices.index(value) + (1 if upward else -1), 0), len(choices) - 1)]
        else:
            changed[name] = min(max(value * FACTORS[upward], distribution.low), distribution.high)
    return hyperparameters.model_copy(update=changed)
