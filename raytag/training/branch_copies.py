"""The exact part of the gate for depth: a model that has every residual branch k times must train like the model.

In a chain of layers a branch also reads what the one before has added, and k copies in turn are equal to one k times as
strong to first order only. So the branches of both models are made to read what the stream begins with: side by side,
copies are exact. Layers, branch weights, losses, batches and optimizer are those that will train, and in float64 losses
agree to rounding. Like duplication this sees no first values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from raytag.config.experiment import Experiment
from raytag.mup.duplication import largest_deviation
from raytag.mup.roles import branch_layers
from raytag.training.duplication_gate import COPIES, MAX_DEVIATION, NUM_STEPS, starting_point
from raytag.training.gate_bench import OpenWorkload, open_bench, train_losses, with_depth
from raytag.training.trial import RowState
from raytag.training.trial_group import TrialGroup

__all__ = ["BranchCopies", "check_branch_copies", "stand_side_by_side"]


@dataclass(frozen=True)
class BranchCopies:
    """The largest relative differences of the losses, by number of copies."""

    deviations: Mapping[int, float]
    num_steps: int
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the copies trained like the original."""
        return self.largest <= self.limit

    @property
    def largest(self) -> float:
        """The largest deviation of all numbers of copies."""
        return max(self.deviations.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {
            "passed": self.passed,
            "limit": self.limit,
            "largest": self.largest,
            "num_steps": self.num_steps,
            "deviations": {str(k): deviation for k, deviation in self.deviations.items()},
        }


def check_branch_copies(open_workload: OpenWorkload, experiment: Experiment) -> BranchCopies:
    """Train a model of the base depth and models with every branch twice and four times, from one starting point.

    Parameters
    ----------
    open_workload
        Opens the workload; called once per depth.
    experiment
        The experiment to check; its ``mup.depth_base`` is the base depth.
    """
    base = experiment.mup.depth_base
    assert base is not None, "the experiment has no rule for depth"
    shallow = _group(open_workload, experiment, base)
    first = starting_point(shallow)
    losses = train_losses(shallow, first.trial, first)
    deviations = {}
    for k in COPIES:
        deep = _group(open_workload, experiment, k * base)
        copied = _copy_layers(first, shallow, deep)
        deviations[k] = largest_deviation(train_losses(deep, copied.trial, copied), losses)
    return BranchCopies(deviations, NUM_STEPS, MAX_DEVIATION)


def stand_side_by_side(model: nn.Module) -> None:
    """Let every residual branch read what the first layer is given. A layer reads the stream through its own norms."""
    layers = [model.get_submodule(name) for name in branch_layers(model)]
    norms = [child for layer in layers for child in layer.children() if isinstance(child, nn.LayerNorm)]
    assert norms, "no layer has a norm that reads the stream"
    given: list[Tensor] = []

    def keep(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        given[:] = inputs[:1]

    def read_given(_norm: nn.Module, _inputs: tuple[Any, ...]) -> Tensor:
        return given[0]

    layers[0].register_forward_pre_hook(keep)
    for norm in norms:
        norm.register_forward_pre_hook(read_given)


def _group(open_workload: OpenWorkload, experiment: Experiment, depth: int) -> TrialGroup:
    workload = open_bench(open_workload, with_depth(experiment, depth), NUM_STEPS)
    group = TrialGroup(workload, experiment.mup.base_width, slots=1)
    stand_side_by_side(group.model(0))
    return group


def _copy_layers(state: RowState, shallow: TrialGroup, deep: TrialGroup) -> RowState:
    """Return an untrained state for the deep model, whose layers are those of the shallow one, in turn."""
    assert state.step == 0, "moments are not copied like parameters"
    originals, copies = branch_layers(shallow.model(0)), branch_layers(deep.model(0))
    place = {copy: originals[index % len(originals)] for index, copy in enumerate(copies)}

    def original(name: str) -> str:
        layer = next((copy for copy in copies if name.startswith(f"{copy}.")), None)
        return name if layer is None else place[layer] + name.removeprefix(layer)

    def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {rule.name: values[original(rule.name)].clone() for rule in deep.table}

    moments = {name: copied(values) for name, values in state.moments.items()}
    return RowState(state.trial, 0, copied(state.parameters), moments)
