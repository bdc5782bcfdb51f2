"""What the muP gates found, as tables for the terminal, from the plain values of their report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["tabulate_duplication", "tabulate_layers"]

FAULT = "bold red"
PADDING = (0, 1, 0, 0)  # 80 columns hold a row
POWERS = {-1.0: "/m", -0.5: "/√m", 0.0: "", 0.5: "√m", 1.0: "m"}

Report = Mapping[str, Any]


def tabulate_duplication(report: Report) -> Table:
    """Return the largest difference of the losses for each optimizer (rows) and schedule (columns)."""
    duplication = report["duplication"]
    largest = {(run["optimizer"], run["schedule"]): run["largest"] for run in duplication["runs"]}
    schedules = list(dict.fromkeys(schedule for _, schedule in largest))
    table = Table(box=None, padding=PADDING, pad_edge=False, header_style="bold")
    table.add_column("duplication", no_wrap=True)
    for schedule in schedules:
        table.add_column(schedule, justify="right", no_wrap=True)
    for optimizer in dict.fromkeys(optimizer for optimizer, _ in largest):
        found = [largest.get((optimizer, schedule)) for schedule in schedules]
        cells = [
            Text("") if value is None else Text(f"{value:.1e}", style="" if value <= duplication["limit"] else FAULT)
            for value in found
        ]
        table.add_row(optimizer, *cells)
    return table


def tabulate_layers(report: Report) -> Table:
    """Return a row per module in the order in which they run, and one for all vectors of a kind.

    Columns: role and shape at the base width of its matrix; factors on learning rate, weight decay and epsilon, and the
    standard deviation of the first values, all as powers of m = width / base width; the slopes of its output's size,
    first and of its change.
    """
    table = Table(box=None, padding=PADDING, pad_edge=False, header_style="bold")
    for column in ("module", "role", "shape", "lr", "wd", "eps", "init"):
        table.add_column(column, no_wrap=True)
    for column in ("start", "change"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in _rows(report):
        table.add_row(*row)
    return table


def _rows(report: Report) -> Iterator[Sequence[str | Text]]:
    coordinates = report["coordinates"]
    matrices = [parameter for parameter in report["parameters"] if len(parameter["shape"]) == 2]
    places = {parameter["name"]: _module_of(parameter["name"], coordinates["log2_sizes"]) for parameter in matrices}
    for parameter in matrices:
        if not places[parameter["name"]]:
            yield (parameter["name"], *_rule(parameter), "", "")
    faults = {name for name, _ in coordinates["faults"]}
    for module in coordinates["log2_sizes"]:
        slopes = [_slope(coordinates, module, moment, faults) for moment in ("initial", "change")]
        own = [parameter for parameter in matrices if places[parameter["name"]] == module]
        yield (module, *(_rule(own[0]) if own else [""] * 6), *slopes)
        for parameter in own[1:]:
            yield (f"  {parameter['name'].removeprefix(module)}", *_rule(parameter), "", "")
    vectors = [parameter for parameter in report["parameters"] if len(parameter["shape"]) != 2]
    for (role, *factors), count in Counter((vector["role"], *_factors(vector)) for vector in vectors).items():
        yield (f"{count} biases", role, "", *factors, "", "")


def _module_of(parameter: str, modules: Mapping[str, Any]) -> str:
    """Return the innermost module with an output that holds a parameter, or nothing."""
    parts = parameter.split(".")
    inside = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((module for module in inside if module in modules), "")


def _rule(parameter: Mapping[str, Any]) -> list[str]:
    return [parameter["role"], "×".join(map(str, parameter["shape"])), *_factors(parameter)]


def _factors(parameter: Mapping[str, Any]) -> list[str]:
    eps = _power(parameter["eps"]) if parameter["algorithm"] == "adamw" else ""
    return [_power(parameter["lr"]), _power(parameter["wd"]), eps, _power(parameter["init"])]


def _power(growth: Mapping[str, float]) -> str:
    """Write base · m^power: "1/m", "0.18/√m", "m"."""
    base, power = growth["base"], round(growth["power"], 2) + 0.0
    factor = POWERS.get(power, f" m^{power:g}")
    return factor.strip() if base == 1 and power > 0 else f"{base:.2g}{factor}"


def _slope(coordinates: Report, module: str, moment: str, faults: set[str]) -> Text:
    slope = coordinates[moment].get(module)
    return Text("" if slope is None else f"{slope:+.2f}", style=FAULT if f"{module} ({moment})" in faults else "")
