"""What the muP gates found, for the study, MLflow and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raytag.config.experiment import Optimizer, Parametrisation
from raytag.mup.coordinates import Slope
from raytag.mup.growth import ParameterGrowth
from raytag.training.coordinate_gate import CoordinatesVerdict
from raytag.training.depth_gate import DepthVerdict
from raytag.training.duplication_gate import DuplicationVerdict

__all__ = ["GateReport"]

NUM_LISTED = 5


@dataclass(frozen=True)
class GateReport:
    """The verdict of both gates, and of the gate for depth if the experiment has a rule for it."""

    parametrisation: Parametrisation
    optimizer: Optimizer
    duplication: DuplicationVerdict
    coordinates: CoordinatesVerdict
    parameters: Sequence[ParameterGrowth]
    num_steps: int
    wall_seconds: float
    depth: DepthVerdict | None = None

    @property
    def passed(self) -> bool:
        """Whether hyperparameters would transfer."""
        return self.duplication.passed and self.coordinates.passed and (self.depth is None or self.depth.passed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {
            "passed": self.passed,
            "parametrisation": self.parametrisation,
            "optimizer": self.optimizer,
            "num_steps": self.num_steps,
            "wall_seconds": self.wall_seconds,
            "duplication": self.duplication.to_dict(),
            "coordinates": self.coordinates.to_dict(),
            "parameters": [parameter.to_dict() for parameter in self.parameters],
            "depth": None if self.depth is None else self.depth.to_dict(),
        }

    def lines(self) -> list[str]:
        """Describe the verdicts for the terminal; after a failure also what stands out and what to do."""
        duplication, coordinates = self.duplication, self.coordinates
        runs = f", {len(duplication.runs)} combinations of optimizer and schedule" if len(duplication.runs) > 1 else ""
        copies = " and ".join(map(str, duplication.worst.deviations))
        seeds = ", ".join(f"{width} × {count}" for width, count in coordinates.seeds.items())
        slope = coordinates.slopes.steepest
        lines = [
            f"muP gates ({self.parametrisation} parametrisation, {self.optimizer}, {self.wall_seconds:.1f} s)",
            f"  {_mark(duplication.passed)} duplication   largest loss difference {duplication.largest:8.1e}"
            f"   limit {duplication.limit:.0e}   {duplication.num_steps} steps, {copies} copies of each unit{runs}",
            f"  {_mark(coordinates.passed)} coordinates   steepest slope   {slope.value:+8.2f} ± {slope.stderr:.2f}"
            f"   limit {coordinates.limit:<5g}   {coordinates.num_steps} steps at lr {coordinates.lr:.2g}, "
            f"width × seeds {seeds}",
            *self._depth_lines(),
        ]
        return lines if self.passed else [*lines, *self._culprit_lines(), *self._fault_lines(), f"  {self._advice()}"]

    def _culprit_lines(self) -> list[str]:
        worst = self.duplication.worst
        culprits = [f"       {difference:8.1e}   {name}" for name, difference in worst.culprits]
        where = f"     Copies part here ({worst.optimizer}, {worst.schedule}):"
        return [where, *_first(culprits)] if culprits else []

    def _depth_lines(self) -> list[str]:
        if self.depth is None:
            return []
        copies, depths = self.depth.copies, ", ".join(map(str, self.depth.depths))
        numbers = " and ".join(map(str, copies.deviations))
        return [
            f"  {_mark(copies.passed)} branches      largest loss difference {copies.largest:8.1e}"
            f"   limit {copies.limit:.0e}   {copies.num_steps} steps, {numbers} copies of each residual branch",
            f"  {_mark(self.depth.slopes_passed)} depth         largest slope too much  {self.depth.largest:8.2f}"
            f"   limit {self.depth.limit:<5g}   {self.num_steps} steps at lr {self.depth.lr:.2g}, layers {depths}",
        ]

    def _fault_lines(self) -> list[str]:
        faults = self._slope_faults()
        return _first([f"       {slope.value:+8.2f} ± {slope.stderr:.2f}   {name}" for name, slope in faults])

    def _slope_faults(self) -> list[tuple[str, Slope]]:
        of_depth = [] if self.depth is None else self.depth.faults()
        return self.coordinates.slopes.faults(self.coordinates.limit) + of_depth

    def _advice(self) -> str:
        if self.coordinates.breaks_at_base:
            return (
                "Training breaks at the base width too: not a matter of width. Look at the data, at the model, and at "
                "hyperparameters.alpha_output and init_scale."
            )
        if self.parametrisation == "standard":
            return (
                "Hyperparameters tuned under the standard parametrisation do not transfer to other widths. Set "
                "mup.parametrisation to mup, or mup.skip_check to true to search all the same."
            )
        if self.duplication.passed and self.coordinates.passed:
            return (
                "Widths are right, depths are not: look at the weight of the residual branches, at which modules are "
                "declared to lie in one (raytag.mup.roles.declare_branch), and at their epsilon, rate and clip norm."
            )
        if self.duplication.passed and any(name.endswith("(initial)") for name, _ in self._slope_faults()):
            return "The optimizer's factors are right: look at the first values of the modules above (role, init_std)."
        if self.duplication.passed:
            return (
                "Factors and first values are right, changes are not: the modules above have few units at "
                "mup.base_width, or the hyperparameters bring the training to the edge of breaking."
            )
        return (
            "A muP factor is wrong: the role of a parameter, or the factor on learning rate, weight decay, epsilon, "
            "clip norm, attention logits or readouts."
        )


def _first(lines: list[str]) -> list[str]:
    """Cut a list short."""
    more = len(lines) - NUM_LISTED
    return lines if more <= 0 else [*lines[:NUM_LISTED], f"       and {more} more"]


def _mark(passed: bool) -> str:
    return "pass" if passed else "FAIL"
