"""Which values the next trial tries: a fresh sampler per trial, seeded by the trial's number alone.

A sampler that lived on between trials would carry hidden state: a resumed search would then suggest something else than
an uninterrupted one. With a seed per number, the suggestion follows from the number and the study's history.
The same number has the same seed at every width, so the random start-up trials are paired across the widths.
"""

from __future__ import annotations

import hashlib

from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial as OptunaTrial

from raytag.config.experiment import SearchConfig
from raytag.config.space import Categorical, LogUniform, SearchSpace

__all__ = ["new_pruner", "new_sampler", "suggest", "trial_seed"]


def trial_seed(search: SearchConfig, number: int) -> int:
    """Return the 31-bit seed of trial ``number``, the same at every width."""
    return _seed(search.seed, "trial", number)


def new_sampler(search: SearchConfig, number: int) -> BaseSampler:
    """Return the sampler that suggests trial ``number``.

    TPE is Optuna's multivariate one with the constant liar: trials that still run count as poor, so that the trials of
    many slots, asked at once, spread out. Failed trials teach it nothing; they do not count as start-up trials either.
    """
    seed = _seed(search.seed, "sampler", number)
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=search.num_startup_trials, constant_liar=True, seed=seed)


def new_pruner(search: SearchConfig) -> BasePruner:
    """Return successive halving on the trials' own steps, or no pruning without a first rung.

    The rungs lie at first_rung, first_rung * reduction_factor, ...; at each, the best 1 / reduction_factor of the
    trials that reached it so far go on (asynchronous successive halving, arXiv:1810.05934).
    """
    if search.first_rung is None:
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=search.first_rung, reduction_factor=search.reduction_factor)


def suggest(trial: OptunaTrial, space: SearchSpace) -> None:
    """Draw every value of the space; values that the trial already holds stay as they are."""
    for name, distribution in space.root.items():
        if isinstance(distribution, Categorical):
            trial.suggest_categorical(name, distribution.choices)
        else:
            is_log = isinstance(distribution, LogUniform)
            trial.suggest_float(name, distribution.low, distribution.high, log=is_log)


def _seed(*parts: object) -> int:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1  # numpy's legacy generator takes at most 32 bits
