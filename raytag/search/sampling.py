"""Which values the next trial tries: a fresh sampler per trial, seeded by the trial's number alone.

A sampler that lived on between trials would carry hidden state: a resumed search would then suggest something else than
an uninterrupted one. With a seed per number, the suggestion follows from the number and the study's history.
The same number has the same seed at every width, so the random start-up trials are paired across the widths.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import Trial as OptunaTrial
from optuna.trial import TrialState as OptunaState

from raytag.config.experiment import SearchConfig
from raytag.config.space import Categorical, LogUniform, SearchSpace
from raytag.records import TrialRecord, TrialState
from raytag.report.transfer_curves import POINTS_OF_FIT
from raytag.search.lr_grid import wanted_rates

__all__ = [
    "RungPruner",
    "generation_seed",
    "new_sampler",
    "prescribe",
    "suggest",
    "trial_seed",
    "wanted_lrs",
]


def trial_seed(search: SearchConfig, number: int, member: int = 0) -> int:
    """Return the 31-bit seed of a member of trial ``number``, the same at every width.

    With paired seeds it is that of trial 0 for all: trials then differ by their values alone.
    """
    number = 0 if search.has_paired_seeds else number
    return _seed(search.seed, "trial", number, *([member] if member else []))


def generation_seed(search: SearchConfig, width: int, population: int, step: int) -> int:
    """Return the seed of what a population decides at a step."""
    return _seed(search.seed, "generation", width, population, step)


def new_sampler(search: SearchConfig, number: int) -> BaseSampler:
    """Return the sampler that suggests trial ``number``.

    TPE is Optuna's multivariate one with the constant liar: trials that still run count as poor, so that the trials of
    many slots, asked at once, spread out. Failed trials teach it nothing; they do not count as start-up trials either.
    The trials of a population begin at random: their values change while they train.
    """
    seed = _seed(search.seed, "sampler", number)
    if search.sampler == "random" or search.scheduler == "pbt":
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=search.num_startup_trials, constant_liar=True, seed=seed)


class RungPruner(BasePruner):
    """Asynchronous successive halving on the trials' own steps (arXiv:1810.05934); without a first rung, no pruning.

    The rungs lie at first_rung, first_rung * reduction_factor, ...; at each, the best 1 / reduction_factor of the
    trials that reached it so far go on; on a grid of learning rates at least the best five, which the optimum is fitted
    to. But for that the rule is that of Optuna's SuccessiveHalvingPruner, which however notes in
    the trial that it has judged before anyone has heard the verdict: a process killed in between would lose it.
    """

    def __init__(self, search: SearchConfig) -> None:
        self._first_rung, self._reduction_factor = search.first_rung, search.reduction_factor
        self._least = POINTS_OF_FIT if search.sampler == "lr_grid" else 1

    def is_rung(self, step: int) -> bool:
        """Tell whether trials are judged at a step."""
        rung = self._first_rung or step + 1
        while rung < step:
            rung *= self._reduction_factor
        return rung == step

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial ends at its last step; the same history gives the same answer."""
        step = trial.last_step
        if step is None or not self.is_rung(step):
            return False
        trials = study.get_trials(deepcopy=False)
        objectives = sorted(other.intermediate_values[step] for other in trials if step in other.intermediate_values)
        num_promoted = max(self._least, len(objectives) // self._reduction_factor)
        return len(objectives) > num_promoted and trial.intermediate_values[step] > objectives[num_promoted - 1]


def suggest(trial: OptunaTrial, space: SearchSpace) -> None:
    """Draw every value of the space; values that the trial already holds stay as they are."""
    for name, distribution in space.root.items():
        if isinstance(distribution, Categorical):
            trial.suggest_categorical(name, distribution.choices)
        else:
            is_log = isinstance(distribution, LogUniform)
            trial.suggest_float(name, distribution.low, distribution.high, log=is_log)


def wanted_lrs(search: SearchConfig, space: SearchSpace, records: Sequence[TrialRecord]) -> list[float]:
    """Return the learning rates that a width can begin now under lr_grid, given all its trials so far."""
    rates = space.root["lr"]
    assert isinstance(rates, LogUniform), "the experiment was checked"
    finished = {record.lr: _result(record) for record in records if record.is_finished}
    pending = [record.lr for record in records if not record.is_finished]
    return wanted_rates(rates, finished, pending, search.most_trials)


def prescribe(values: Mapping[str, float]) -> FrozenTrial:
    """Return a trial to be added to a study: it runs with these values, whether or not the space contains them.

    Its values are in the line of the journal that creates it, so no process can be killed in between.
    """
    ranges: dict[str, BaseDistribution] = {name: FloatDistribution(value, value) for name, value in values.items()}
    return create_trial(state=OptunaState.RUNNING, params=dict(values), distributions=ranges)


def _result(record: TrialRecord) -> float:
    """Return what a finished trial says of its learning rate, as :func:`wanted_rates` takes it."""
    if record.broke_off:
        return math.nan
    return record.objective if record.state is TrialState.COMPLETE else math.inf


def _seed(*parts: object) -> int:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1  # numpy's legacy generator takes at most 32 bits
