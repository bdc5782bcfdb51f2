"""From roles to numbers: each parameter's learning rate, weight decay, epsilon and initial values.

The package `mup` says which dimensions grow with the width; what follows from that is written out here, so that an
optimizer, a checkpoint or a physicist reads one flat table (Tensor Programs V, arXiv:2203.03466, table 8, for AdamW).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from mup.infshape import InfShape
from mup.shape import get_shapes, zip_infshapes
from torch import Tensor, nn

from raytag.config.experiment import Parametrisation
from raytag.errors import RoleError
from raytag.mup.roles import Declaration, Role, declarations

__all__ = ["ParameterRule", "RuleTable", "initialise", "rule_table"]


@dataclass(frozen=True)
class ParameterRule:
    """What muP asks of one parameter. Factors multiply the trial's own hyperparameters.

    Attributes
    ----------
    name, shape, role
        The parameter, as ``named_parameters`` has it.
    fan_in
        Columns of the matrix; for a bias, of the matrix beside it; 0 for a token.
    m
        Width multiplier of the fan-in, 1 if that is finite.
    lr_factor, wd_factor, eps_factor
        Factors on the learning rate, on torch AdamW's ``weight_decay`` (which multiplies by the learning rate again,
        so that their product keeps lr × wd as the trial has it) and on ``eps``.
    norm_factor
        Weight of this parameter's squared gradient in the norm to clip by, so that the norm does not drift with width.
    init_std
        Standard deviation of the first values at ``init_scale`` 1; 0 starts at zero.
    init_distribution
        Shape of the first values' distribution.
    num_zero_rows
        Leading rows that start at zero.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    fan_in: int
    m: float
    lr_factor: float
    wd_factor: float
    eps_factor: float
    norm_factor: float
    init_std: float
    init_distribution: Literal["normal", "uniform"]
    num_zero_rows: int


@dataclass(frozen=True)
class RuleTable:
    """The rules of all parameters of one model, in the order of ``named_parameters``."""

    parametrisation: Parametrisation
    width: int
    base_width: int
    rules: tuple[ParameterRule, ...]

    def __iter__(self) -> Iterator[ParameterRule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, as a checkpoint or JSON keeps them."""
        table = dataclasses.asdict(self)
        table["rules"] = [rule | {"shape": list(rule["shape"]), "role": str(rule["role"])} for rule in table["rules"]]
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> RuleTable:
        """Read what :meth:`to_dict` wrote."""
        rules = tuple(
            ParameterRule(**{**rule, "shape": tuple(rule["shape"]), "role": Role(rule["role"])})
            for rule in table["rules"]
        )
        return cls(**{**table, "rules": rules})


def rule_table(
    build: Callable[[int], nn.Module], width: int, base_width: int, parametrisation: Parametrisation
) -> RuleTable:
    """Work out the rules of ``build(width)``, holding the declared roles against the shapes.

    Parameters
    ----------
    build
        Makes the model of a width. It is called three times under the meta device, so nothing is allocated.
    width, base_width
        Width of the model, and the width at which every muP factor is 1.
    parametrisation
        ``mup``, or ``standard`` for the control: PyTorch's initialisation and factors 1.

    Raises
    ------
    RoleError
        Naming every parameter whose role is undeclared or contradicts its shape.
    """
    with torch.device("meta"):
        base, delta, target = build(base_width), build(2 * base_width), build(width)
    declared = declarations(target)
    infinite = zip_infshapes(zip_infshapes(base, delta), target)
    contradictions = [
        f"{name}: {contradiction}"
        for name, declaration in declared.items()
        if (contradiction := _contradiction(declaration.role, infinite[name], width / base_width))
    ]
    if contradictions:
        raise RoleError("\n".join(contradictions))
    make = _mup_rule if parametrisation == "mup" else _standard_rule
    fan_ins = _fan_ins(get_shapes(target), declared)
    rules = tuple(make(name, declared[name], infinite[name], fan_ins[name]) for name in declared)
    return RuleTable(parametrisation, width, base_width, rules)


def initialise(model: nn.Module, table: RuleTable, seed: int, init_scale: float) -> None:
    """Write a model's first values in place: a function of the table, the seed and the scale only.

    The numbers are drawn in float64 on the CPU, so models of any precision and device start at the same point.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for rule in table:
            values = _unit_values(rule, generator) * (rule.init_std * init_scale)
            values[: rule.num_zero_rows] = 0.0
            parameters[rule.name].copy_(values)


def _unit_values(rule: ParameterRule, generator: torch.Generator) -> Tensor:
    """Draw values of standard deviation 1."""
    values = torch.empty(rule.shape, dtype=torch.float64)
    if rule.init_distribution == "normal":
        return values.normal_(generator=generator)
    return values.uniform_(-math.sqrt(3), math.sqrt(3), generator=generator)


def _contradiction(role: Role, shape: InfShape, width_multiplier: float) -> str | None:
    """Say why a parameter of this shape cannot have this role."""
    infinite = tuple(dim.isinf() for dim in shape)
    for dim in shape:
        if dim.isinf() and dim.width_mult() != width_multiplier:
            return (
                f"a dimension of {dim.dim} ({dim.base_dim} at the base width) does not scale by {width_multiplier:g}. "
                "A matrix that reads width and fixed columns must be two parameters"
            )
    allowed = {
        (True, True): {Role.HIDDEN},
        (True, False): {Role.INPUT, Role.VECTOR},
        (False, True): {Role.READOUT, Role.VECTOR},
        (True,): {Role.VECTOR},
    }.get(infinite, {Role.CONSTANT} if not any(infinite) else set())
    if role in allowed:
        return None
    sizes = ", ".join("width" if dim.isinf() else str(dim.dim) for dim in shape)
    choices = " or ".join(sorted(allowed)) or "none of the roles"
    return f"declared {role}, but its shape ({sizes}) allows {choices}"


def _fan_ins(shapes: Mapping[str, tuple[int, ...]], declared: Mapping[str, Declaration]) -> dict[str, int]:
    """Return each parameter's fan-in: a bias has that of the weight beside it, a token none."""

    def fan_in(name: str) -> int:
        if declared[name].role in (Role.INPUT, Role.HIDDEN, Role.READOUT):
            return shapes[name][1]
        weight = shapes.get(f"{name.removesuffix('bias')}weight", ())
        return weight[1] if name.endswith("bias") and len(weight) == 2 else 0

    return {name: fan_in(name) for name in declared}


def _mup_rule(name: str, declaration: Declaration, shape: InfShape, fan_in: int) -> ParameterRule:
    """Apply muP: what only the fan-in's m decides, then what the whole width decides."""
    role = declaration.role
    m = float(shape[1].width_mult()) if role in (Role.HIDDEN, Role.READOUT) else 1.0
    width_multiplier = float(shape.width_mult())
    starts_random = role in (Role.INPUT, Role.HIDDEN)
    return ParameterRule(
        name=name,
        shape=tuple(shape.shape()),
        role=role,
        fan_in=fan_in,
        m=m,
        lr_factor=1 / m if role is Role.HIDDEN else 1.0,
        wd_factor=m if role is Role.HIDDEN else 1.0,
        # Gradients fall as 1/m wherever a dimension is infinite, and stay where none is (a readout's bias).
        eps_factor=1 / width_multiplier,
        # A squared gradient norm goes as m^n / m^2 with n infinite dimensions.
        norm_factor=width_multiplier ** (2 - shape.ninf()),
        init_std=declaration.init_std or (fan_in**-0.5 if starts_random else 0.0),
        init_distribution="normal",
        num_zero_rows=declaration.num_zero_rows,
    )


def _standard_rule(name: str, declaration: Declaration, shape: InfShape, fan_in: int) -> ParameterRule:
    """Apply PyTorch's defaults: nn.Linear draws weight and bias uniformly within ±1/√fan_in."""
    return ParameterRule(
        name=name,
        shape=tuple(shape.shape()),
        role=declaration.role,
        fan_in=fan_in,
        m=1.0,
        lr_factor=1.0,
        wd_factor=1.0,
        eps_factor=1.0,
        norm_factor=1.0,
        init_std=declaration.init_std or ((3 * fan_in) ** -0.5 if fan_in else 0.0),
        init_distribution="uniform" if fan_in else "normal",
        num_zero_rows=0,
    )
