"""A small report of the muP gates as plain values: a model of three modules, with what a test changes."""

from __future__ import annotations

from typing import Any


def gate_figures(*, faults: dict[str, float] | None = None, parametrisation: str = "mup") -> dict[str, Any]:
    """Return a report; ``faults`` are slopes that fail, by "module (initial)" or "module (change)"."""
    faults, widths = faults or {}, [32, 64, 128]
    modules = {"embed": ("initial", "change"), "layers.0.attention": ("initial", "change"), "readout": ("change",)}
    slopes = {m: {moment: faults.get(f"{m} ({moment})", 0.01) for moment in moments} for m, moments in modules.items()}
    return {
        "passed": not faults,
        "parametrisation": parametrisation,
        "optimizer": "adamw",
        "num_steps": 10,
        "wall_seconds": 1.0,
        "duplication": {
            "passed": True,
            "limit": 1e-9,
            "largest": 2e-16,
            "num_steps": 8,
            "runs": [_run("adamw", "constant", 1e-16), _run("adamw", "one_cycle", 2e-16), _run("sgd", "constant", 0.5)],
        },
        "coordinates": {
            "passed": not faults,
            "limit": 0.15,
            "steepest": max(faults.values(), default=0.0),
            "widths": widths,
            "seeds": [8, 4, 2],
            "num_steps": 5,
            "initial": {m: own["initial"] for m, own in slopes.items() if "initial" in own},
            "change": {m: own["change"] for m, own in slopes.items()},
            "faults": [list(fault) for fault in faults.items()],
            "log2_sizes": {
                m: {moment: [-2 + slope * octave for octave in range(3)] for moment, slope in own.items()}
                for m, own in slopes.items()
            },
        },
        "parameters": [
            _parameter("token", [1, 32], "vector", lr=0, wd=0, init=(0.02, 0)),
            _parameter("embed.weight", [32, 5], "input", lr=0, wd=0, init=(0.4472, 0)),
            _parameter("embed.bias", [32], "vector", lr=0, wd=0, init=(0.0, 0)),
            _parameter("layers.0.attention.qkv.weight", [96, 32], "hidden", lr=-1, wd=1, init=(0.1768, -0.5)),
            _parameter("layers.0.attention.qkv.bias", [96], "vector", lr=0, wd=0, init=(0.0, 0)),
            _parameter("readout.weight", [3, 32], "readout", lr=0, wd=0, init=(0.0, 0)),
        ],
        "depth": None,
    }


def _run(optimizer: str, schedule: str, largest: float) -> dict[str, Any]:
    return {"optimizer": optimizer, "schedule": schedule, "largest": largest, "deviations": {"2": largest}}


def _parameter(
    name: str, shape: list[int], role: str, *, lr: float, wd: float, init: tuple[float, float]
) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "role": role,
        "algorithm": "adamw",
        "lr": {"base": 1.0, "power": lr},
        "wd": {"base": 1.0, "power": wd},
        "eps": {"base": 1.0, "power": -1},
        "init": {"base": init[0], "power": init[1]},
    }
