"""The executors that a group can have, what is known about each, and which one was chosen: plain data.

A stopwatch may decide how trials are computed, but not twice differently within a study: the choice is written down, so
that later groups and restarted ones can be given the first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raytag.config.experiment import Autocast, CompileMode, ExecutorName
from raytag.training.executors.loop import CompiledLoop, Loop
from raytag.training.executors.protocol import Executor
from raytag.training.executors.vmap import Vmap

__all__ = ["Candidate", "CandidateFigures", "ExecutorChoice", "executor_of"]


@dataclass(frozen=True)
class Candidate:
    """A way to run a group: an executor, compiled or not, on batches in one of the workload's layouts."""

    executor: ExecutorName
    compile: CompileMode
    layout: str

    @property
    def name(self) -> str:
        """What the user reads, as "compiled vmap, static"."""
        return f"{'' if self.compile == 'off' else 'compiled '}{self.executor}, {self.layout}"


@dataclass(frozen=True)
class CandidateFigures:
    """What was found out about a candidate.

    ``deviation`` is the largest relative difference of a loss or of a row's gradient from the loop's, in float64.
    ``milliseconds`` per trial and step are a median, ``low`` and ``high`` the quartiles: of CPU time on the CPU, of
    wall time on a GPU. ``problem`` says why it cannot be used. None: not measured.
    """

    candidate: Candidate
    deviation: float | None = None
    milliseconds: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ExecutorChoice:
    """The candidate that groups of this width, number of slots and device use, and why."""

    width: int
    slots: int
    device: str
    chosen: Candidate
    reason: str
    figures: tuple[CandidateFigures, ...]

    @property
    def layout(self) -> str:
        """The layout to be set with :meth:`Workload.use_layout`."""
        return self.chosen.layout

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, as JSON keeps them."""
        content = dataclasses.asdict(self)
        content["figures"] = list(content["figures"])
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ExecutorChoice:
        """Read what :meth:`to_dict` wrote."""
        figures = (
            CandidateFigures(**{**one, "candidate": Candidate(**one["candidate"])}) for one in content["figures"]
        )
        return cls(**{**content, "chosen": Candidate(**content["chosen"]), "figures": tuple(figures)})


def executor_of(candidate: Candidate, autocast: Autocast) -> Executor:
    """Return a candidate's executor, for one group."""
    if candidate.executor == "vmap":
        return Vmap(candidate.compile, autocast)
    return Loop(autocast) if candidate.compile == "off" else CompiledLoop(candidate.compile, autocast)
