"""What the muP gates found, for the study, MLflow and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raytag.config.experiment import Optimizer, Parametrisation
from raytag.mup.coordinates import CoordinateSlopes

__all__ = ["CoordinatesVerdict", "DuplicationVerdict", "GateReport"]

NUM_LISTED = 5


@dataclass(frozen=True)
class DuplicationVerdict:
    """Largest relative difference of the losses by number of copies, and the losses of the original."""

    deviations: Mapping[int, float]
    losses: Sequence[float]
    limit: float

    @property
    def passed(self) -> bool:
        """Whether every copy trained like the original."""
        return self.largest <= self.limit

    @property
    def largest(self) -> float:
        """The largest deviation of all copies."""
        return max(self.deviations.values())


@dataclass(frozen=True)
class CoordinatesVerdict:
    """Slopes against the width of the activations' initial sizes and of their changes in training."""

    slopes: CoordinateSlopes
    widths: Sequence[int]
    limit: float

    @property
    def passed(self) -> bool:
        """Whether activations start and move alike at every width."""
        return self.slopes.steepest <= self.limit


@dataclass(frozen=True)
class GateReport:
    """The verdict of both gates."""

    parametrisation: Parametrisation
    optimizer: Optimizer
    duplication: DuplicationVerdict
    coordinates: CoordinatesVerdict
    num_steps: int
    wall_seconds: float

    @property
    def passed(self) -> bool:
        """Whether hyperparameters would transfer."""
        return self.duplication.passed and self.coordinates.passed

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        duplication, coordinates = self.duplication, self.coordinates
        return {
            "passed": self.passed,
            "parametrisation": self.parametrisation,
            "optimizer": self.optimizer,
            "num_steps": self.num_steps,
            "wall_seconds": self.wall_seconds,
            "duplication": {
                "passed": duplication.passed,
                "limit": duplication.limit,
                "largest": duplication.largest,
                "deviations": {str(k): deviation for k, deviation in duplication.deviations.items()},
                "losses": list(duplication.losses),
            },
            "coordinates": {
                "passed": coordinates.passed,
                "limit": coordinates.limit,
                "steepest": coordinates.slopes.steepest,
                "widths": list(coordinates.widths),
                **asdict(coordinates.slopes),
            },
        }

    def lines(self) -> list[str]:
        """Describe the verdicts for the terminal; after a failure also what stands out and what to do."""
        duplication, coordinates = self.duplication, self.coordinates
        copies = " and ".join(map(str, duplication.deviations))
        widths = ", ".join(map(str, coordinates.widths))
        lines = [
            f"muP gates ({self.parametrisation} parametrisation, {self.optimizer}, {self.wall_seconds:.1f} s)",
            f"  {_mark(duplication.passed)} duplication   largest loss difference {duplication.largest:8.1e}"
            f"   limit {duplication.limit:.0e}   {self.num_steps} steps, {copies} copies of each unit",
            f"  {_mark(coordinates.passed)} coordinates   steepest slope          {coordinates.slopes.steepest:8.2f}"
            f"   limit {coordinates.limit:<5g}   {self.num_steps} steps, widths {widths}",
        ]
        return lines if self.passed else [*lines, *self._fault_lines(), f"  {self._advice()}"]

    def _fault_lines(self) -> list[str]:
        faults = self.coordinates.slopes.faults(self.coordinates.limit)
        lines = [f"       {slope:+8.2f}   {name}" for name, slope in faults[:NUM_LISTED]]
        return lines if len(faults) <= NUM_LISTED else [*lines, f"       and {len(faults) - NUM_LISTED} more"]

    def _advice(self) -> str:
        if self.parametrisation == "standard":
            return (
                "Hyperparameters tuned under the standard parametrisation do not transfer to other widths. Set "
                "mup.parametrisation to mup, or mup.skip_check to true to search all the same."
            )
        if self.duplication.passed:
            return "The optimizer's factors are right: look at the first values of the modules above (role, init_std)."
        return (
            "A muP factor is wrong: the role of a parameter, or the factor on learning rate, weight decay, epsilon, "
            "clip norm, attention logits or readouts."
        )


def _mark(passed: bool) -> str:
    return "pass" if passed else "FAIL"
