"""From one batch size and training length to another: learning rate, momenta, epsilon and weight decay.

Two rules, ``batch`` and ``steps``, raise two ratios to the powers in :data:`EXPONENTS`: m_B of the batch sizes, and m_D
of the samples seen in all (batch size × steps). Of the papers named there the abstracts could be read, the tables only
as public implementations have them, which agree in every exponent (https://github.com/marin-community/marin,
``completed_cadamc.py``, and others). They are therefore derived here too.

*Batch.* Where a gradient is mostly noise, of size σ/√B, AdamW divides by that noise: a step moves a weight by
lr (√B ∇f/σ + noise of size 1), so in n steps the drift is n lr √B ∇f/σ and the noise lr √n. With m_B times the batch
and n/m_B steps both stay if lr grows as √m_B. Averages over 1 / (1 - β) steps then hold as many samples as before, ε
keeps its ratio to the noise, and lr × decay × n stays. SGD does not divide: its drift n lr ∇f and noise √n lr σ/√B
both stay if lr grows as m_B. Beyond the critical batch size, where gradients are not mostly noise, both overshoot.

*Steps.* A longer training is no other discretisation of the same path, so not everything can stay. With Complete(d)P
the accumulated noise lr √n stays, and so does the share of the training that momenta and decay average over; the drift
grows by √m_D, which is what longer training is for. It follows from m_D times the batch at constant values, and then
the batch rule back: hence √m_D on ε, although the noise at a constant batch stays. That weights average over a fixed
share of the training, 1 / (lr × decay) steps, is common ground; the power of lr is not (Bjorck et al.,
arXiv:2409.19913, find -.32).

Together they depend on the number of steps alone: m_B / m_D is the ratio of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from raytag.config.experiment import Optimizer
from raytag.config.hyperparameters import Hyperparameters

__all__ = ["EXPONENTS", "Change", "Factor", "Horizon", "Rescaled", "ScalingRule", "Source", "rescale"]

ScalingRule = Literal["batch", "steps"]


@dataclass(frozen=True)
class Source:
    """What a rule is called, and the paper it comes from."""

    name: str
    paper: str


SQUARE_ROOT = Source("square-root rule", "Malladi et al., arXiv:2205.10287")
LINEAR = Source("linear rule", "Goyal et al., arXiv:1706.02677")
COMPLETED = Source("Complete(d)P", "Mlodozeniec et al., arXiv:2512.22382")
TIME_SCALE = Source("time scale of the decay", "Wang and Aitchison, arXiv:2405.13698")

_DECAY_ONLY: Mapping[ScalingRule, Mapping[str, tuple[float, Source]]] = {
    "batch": {"weight_decay": (1, TIME_SCALE)},
    "steps": {"weight_decay": (-1, TIME_SCALE)},
}

#: Powers of m_B (batch) and m_D (steps) by which a value grows; those of β1 and β2 are of 1 - β. What is missing has no
#: known rule. SGD's linear rule keeps lr × decay per sample by itself, and its momentum as it is.
EXPONENTS: Mapping[Optimizer, Mapping[ScalingRule, Mapping[str, tuple[float, Source]]]] = {
    "adamw": {
        "batch": {
            "lr": (1 / 2, SQUARE_ROOT),
            "beta1": (1, SQUARE_ROOT),
            "beta2": (1, SQUARE_ROOT),
            "eps": (-1 / 2, SQUARE_ROOT),
            "weight_decay": (1 / 2, COMPLETED),
        },
        "steps": {
            "lr": (-1 / 2, COMPLETED),
            "beta1": (-1, COMPLETED),
            "beta2": (-1, COMPLETED),
            "eps": (1 / 2, COMPLETED),
            "weight_decay": (-1 / 2, COMPLETED),
        },
    },
    "sgd": {"batch": {"lr": (1, LINEAR)}, "steps": {"weight_decay": (-1, TIME_SCALE)}},
    "lion": _DECAY_ONLY,
    "muon": _DECAY_ONLY,
}


@dataclass(frozen=True)
class Horizon:
    """How long a training is: ``num_steps`` steps on ``batch_size`` samples each."""

    batch_size: int
    num_steps: int

    @property
    def num_samples(self) -> int:
        """The samples seen in all, counting repetitions."""
        return self.batch_size * self.num_steps


@dataclass(frozen=True)
class Factor:
    """What one rule multiplies a value by; of β1 and β2 it multiplies 1 - β."""

    rule: ScalingRule
    source: Source
    value: float


@dataclass(frozen=True)
class Change:
    """A hyperparameter's old and new value, and the factors in between."""

    old: float
    new: float
    factors: tuple[Factor, ...]

    @property
    def rules(self) -> str:
        """The names of the rules, for a table."""
        return ", ".join(dict.fromkeys(factor.source.name for factor in self.factors))

    @property
    def papers(self) -> tuple[str, ...]:
        """The papers of the rules, each once."""
        return tuple(dict.fromkeys(factor.source.paper for factor in self.factors))


@dataclass(frozen=True)
class Rescaled:
    """Hyperparameters for another horizon.

    Attributes
    ----------
    hyperparameters
        All of them; those without a rule as they were.
    changes
        Those that are new, by name.
    notes
        What no rule covers, where a rule ends, and a warning of what had to be cut to its legal range.
    """

    hyperparameters: Hyperparameters
    changes: Mapping[str, Change]
    notes: tuple[str, ...]


def rescale(
    hyperparameters: Hyperparameters,
    optimizer: Optimizer,
    source: Horizon,
    target: Horizon,
    rules: Collection[ScalingRule] = get_args(ScalingRule),
) -> Rescaled:
    """Carry hyperparameters that were tuned for one horizon to another.

    Parameters
    ----------
    hyperparameters
        Tuned at ``source``.
    optimizer
        The optimizer that they are of.
    source, target
        The horizon of the tuning, and that of the training to come.
    rules
        The rules to apply. Without ``steps`` the samples are gone through as in the tuned training, only for longer or
        shorter. Without ``batch`` a larger batch is a longer training all the same, where the number of steps stays:
        to carry the values unchanged to another batch, leave out both.
    """
    ratios: dict[ScalingRule, float] = {
        "batch": target.batch_size / source.batch_size,
        "steps": target.num_samples / source.num_samples,
    }
    acting = {rule: ratio for rule, ratio in ratios.items() if rule in rules and ratio != 1}
    factors: dict[str, list[Factor]] = {}
    for rule, ratio in acting.items():
        for name, (exponent, origin) in EXPONENTS[optimizer][rule].items():
            factors.setdefault(name, []).append(Factor(rule, origin, ratio**exponent))
    notes, changes = list(_gaps(hyperparameters, optimizer, acting)), {}
    for name, parts in factors.items():
        old = getattr(hyperparameters, name)
        wanted = _multiply(name, old, math.prod(part.value for part in parts))
        new = _legal(name, wanted)
        if wanted < 0:
            notes.append(
                f"Warning: {name}: the rules give {wanted:.3g}, cut to 0: so few steps leave nothing to average over, "
                "and none of the rules is known to hold"
            )
        if not math.isclose(new, old, rel_tol=1e-12):
            changes[name] = Change(old, new, tuple(parts))
    if "lr" in changes and (ratio := changes["lr"].new / changes["lr"].old) > 1:
        notes.append(
            f"lr: raised {ratio:.3g} times; the rules hold while gradients are mostly noise, then overshoot; check it"
        )
    if factors and all(math.isclose(math.prod(part.value for part in parts), 1) for parts in factors.values()):
        notes.append("the number of steps stays: the rules of the batch and of the samples cancel")
    updated = hyperparameters.model_copy(update={name: change.new for name, change in changes.items()})
    return Rescaled(updated, changes, tuple(notes))


def _multiply(name: str, value: float, factor: float) -> float:
    return 1 - factor * (1 - value) if name in ("beta1", "beta2") else factor * value


def _legal(name: str, value: float) -> float:
    """Keep a momentum within 0 and below 1, which rounding may reach; the others stay positive by themselves."""
    return min(max(value, 0.0), math.nextafter(1.0, 0.0)) if name in ("beta1", "beta2") else value


def _gaps(hyperparameters: Hyperparameters, optimizer: Optimizer, acting: Collection[ScalingRule]) -> Iterator[str]:
    """Say which values should perhaps change, but have no rule to change by."""
    causes: dict[ScalingRule, str] = {"batch": "another batch size", "steps": "another number of samples"}
    for rule in acting:
        if "lr" not in EXPONENTS[optimizer][rule]:
            yield f"lr: no rule is known for {optimizer} and {causes[rule]}; carried unchanged"
    if hyperparameters.clip_norm is not None and "batch" in acting:
        yield "clip_norm: no rule is known for another batch size; carried unchanged"
