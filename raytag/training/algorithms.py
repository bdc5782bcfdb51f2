"""AdamW, Lion, SGD and Muon on one segment of a row, in place.

All decay weights apart from the gradient: a step first shrinks them by 1 - lr × weight_decay (Loshchilov and Hutter,
arXiv:1711.05101). Nothing here knows muP; the settings that come in have its factors applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import adamw as torch_adamw
from torch.optim import sgd as torch_sgd

from raytag.config.experiment import Optimizer
from raytag.training.layout import Segment

__all__ = ["ALGORITHMS", "MOMENTS", "SegmentState", "Settings", "orthogonalise"]

# Slope and higher terms of the odd polynomial whose iteration drives singular values towards 1, and how often it is
# applied (Jordan, https://kellerjordan.github.io/posts/muon, 2024): what is left lies between about 0.7 and 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NUM_NEWTON_SCHULZ = 5
# A matrix of smaller norm is left small. Gradient norms of hidden matrices do not depend on the width.
SMALLEST_NORM = 1e-7


@dataclass(frozen=True)
class Settings:
    """A trial's hyperparameters at one step, for one segment: with the schedule's pace and muP's factors applied."""

    lr: float
    weight_decay: float
    beta1: float
    beta2: float
    eps: float


@dataclass(frozen=True)
class SegmentState:
    """A segment's elements: parameters, gradients and moments, vectors of one length; and the 0-d count of steps."""

    segment: Segment
    parameters: Tensor
    gradients: Tensor
    moments: Mapping[str, Tensor]
    count: Tensor


def adamw(state: SegmentState, settings: Settings) -> None:
    """Take torch's own fused step."""
    torch_adamw.adamw(
        [state.parameters],
        [state.gradients],
        [state.moments["exp_avg"]],
        [state.moments["exp_avg_sq"]],
        [],
        [state.count],
        fused=True,
        amsgrad=False,
        maximize=False,
        beta1=settings.beta1,
        beta2=settings.beta2,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        eps=settings.eps,
    )


def lion(state: SegmentState, settings: Settings) -> None:
    """Step by the sign of the momentum, which β1 mixes with the gradient and β2 keeps (Chen et al., arXiv:2302.06675).

    Where a gradient vanishes identically (a bias on keys, to which a softmax is blind) the sign is that of rounding
    noise: such a parameter walks at random, and nothing but its own value notices.
    """
    momentum = state.moments["exp_avg"]
    direction = momentum.lerp(state.gradients, 1 - settings.beta1).sign_()
    _decay(state, settings)
    state.parameters.add_(direction, alpha=-settings.lr)
    momentum.lerp_(state.gradients, 1 - settings.beta2)


def sgd(state: SegmentState, settings: Settings) -> None:
    """Take torch's own fused step with heavy-ball momentum β1, without dampening."""
    _decay(state, settings)
    torch_sgd.sgd(
        [state.parameters],
        [state.gradients],
        [state.moments["momentum_buffer"]],
        fused=True,
        weight_decay=0.0,
        momentum=settings.beta1,
        lr=settings.lr,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )


def muon(state: SegmentState, settings: Settings) -> None:
    """Orthogonalise the Nesterov momentum of each matrix (Jordan, 2024)."""
    momentum = state.moments["exp_avg"]
    momentum.lerp_(state.gradients, 1 - settings.beta1)
    direction = state.gradients.lerp(momentum, settings.beta1)
    _decay(state, settings)
    updates = orthogonalise(torch.stack(state.segment.matrices(direction)))
    for parameter, update in zip(state.segment.matrices(state.parameters), updates, strict=True):
        parameter.add_(update, alpha=-settings.lr)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices (N, rows, columns) near 1, in their own precision; zeros stay zero."""
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if is_tall else matrices
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=SMALLEST_NORM)
    slope, cubic, quintic = NEWTON_SCHULZ
    for _ in range(NUM_NEWTON_SCHULZ):
        gram = wide @ wide.mT
        higher = torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic)
        wide = torch.baddbmm(wide, higher, wide, beta=slope)
    return wide.mT if is_tall else wide


def _decay(state: SegmentState, settings: Settings) -> None:
    state.parameters.mul_(1 - settings.lr * settings.weight_decay)


Algorithm = Callable[[SegmentState, Settings], None]

ALGORITHMS: Mapping[Optimizer, Algorithm] = {"adamw": adamw, "lion": lion, "muon": muon, "sgd": sgd}

#: What each optimizer keeps for every parameter, by the names of torch's optimizers. Muon's own momentum is an average
#: too; for the parameters that AdamW updates it needs AdamW's second moment, which stays zero for the others.
MOMENTS: Mapping[Optimizer, tuple[str, ...]] = {
    "adamw": ("exp_avg", "exp_avg_sq"),
    "lion": ("exp_avg",),
    "muon": ("exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}
