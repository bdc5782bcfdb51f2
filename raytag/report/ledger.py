"""What a transfer costs: the narrow sweep and one wide training, against the same sweep at the target width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from raytag.records import Cost, TrialRecord

__all__ = ["Ledger", "ledger_of", "predict_wide_run", "tabulate_ledger"]

TERA = 1e12


@dataclass(frozen=True)
class Ledger:
    """Costs of tuning narrow and training wide once.

    Attributes
    ----------
    source_width, target_width
        Where the trials were trained, and where they would have to be without transfer.
    num_trials
        All trials of the source's width.
    sweep
        What they took, those that failed or were stopped early too.
    wide_run
        What the wide training took, or is expected to take.
    narrow_run
        What one narrow training to its end took.
    continued
        What it took to train the narrow model on, beside a warm-started wide one.
    verification
        What it took to check the carried rate at the target width.
    trainings_to_verify
        The fewest and the most wide trainings that a verification may take, where it has not run.
    is_expected
        Whether ``wide_run`` and ``continued`` are estimates.
    """

    source_width: int
    target_width: int
    num_trials: int
    sweep: Cost
    narrow_run: Cost
    wide_run: Cost
    continued: Cost | None = None
    verification: Cost | None = None
    trainings_to_verify: tuple[int, int] | None = None
    is_expected: bool = False

    @property
    def tuning(self) -> Cost:
        """The same sweep at the target width: as many trainings as the narrow one is worth, each a wide one."""
        return Cost(
            _ratio(self.sweep.train_flops, self.narrow_run.train_flops) * self.wide_run.train_flops,
            _ratio(self.sweep.worker_seconds, self.narrow_run.worker_seconds) * self.wide_run.worker_seconds,
        )

    @property
    def transfer(self) -> Cost:
        """The narrow sweep and the wide run."""
        return self.sweep + self.wide_run

    def share(self, cost: Cost) -> tuple[float, float]:
        """Return a cost as a share of :attr:`tuning`, in operations and in seconds; NaN where one was not counted."""
        return (
            _ratio(cost.train_flops, self.tuning.train_flops),
            _ratio(cost.worker_seconds, self.tuning.worker_seconds),
        )

    def numbers(self) -> dict[str, float]:
        """Return what is known, as a logbook's metrics."""
        of_flops, of_seconds = self.share(self.transfer)
        costs = {
            "sweep": self.sweep,
            "wide_run": self.wide_run,
            "tuning_wide": self.tuning,
            "continued": self.continued,
            "verification": self.verification,
        }
        known = {name: cost for name, cost in costs.items() if cost is not None}
        numbers = {
            **{f"cost/{name}_flops": cost.train_flops for name, cost in known.items()},
            **{f"cost/{name}_worker_seconds": cost.worker_seconds for name, cost in known.items()},
            "cost/share_of_flops": of_flops,
            "cost/share_of_worker_seconds": of_seconds,
        }
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "source_width": self.source_width,
            "target_width": self.target_width,
            "num_trials": self.num_trials,
            **{name.removeprefix("cost/"): value for name, value in self.numbers().items()},
        }


def ledger_of(records: Sequence[TrialRecord], source: TrialRecord, width: int, wide_run: Cost) -> Ledger:
    """Return the ledger of a transfer of the trial ``source`` to a width, from all records of its study.

    Trials of other widths are no part of the sweep: they were made to see whether the optimum moves.
    """
    trials = [record for record in records if record.width == source.width]
    cost, members = source.cost, source.num_members
    return Ledger(
        source_width=source.width,
        target_width=width,
        num_trials=len(trials),
        sweep=sum((record.cost for record in trials), start=Cost()),
        narrow_run=Cost(cost.train_flops / members, cost.worker_seconds / members),
        wide_run=wide_run,
    )


def predict_wide_run(source: TrialRecord, train_flops: float) -> Cost:
    """Return what a wide run of so many operations will take if it computes as fast as the trial ``source`` did."""
    return Cost(train_flops, _ratio(train_flops, source.cost.train_flops) * source.cost.worker_seconds)


def tabulate_ledger(ledger: Ledger) -> Table:
    """Return the ledger as a table, each cost beside its share of tuning at the target width."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cost")
    for title in ("TFLOP", "share", "worker-seconds", "share"):
        table.add_column(title, justify="right")
    for name, cost in _rows(ledger):
        of_flops, of_seconds = ledger.share(cost)
        flops, seconds = _number(cost.train_flops / TERA), _number(cost.worker_seconds)
        table.add_row(name, flops, _percent(of_flops), seconds, _percent(of_seconds))
    return table


def _rows(ledger: Ledger) -> Iterator[tuple[str, Cost]]:
    trials = f"{ledger.num_trials} trial{'s' * (ledger.num_trials != 1)}"
    expected = ", expected" * ledger.is_expected
    yield f"narrow sweep: {trials}, width {ledger.source_width}", ledger.sweep
    yield f"wide run, width {ledger.target_width}{expected}", ledger.wide_run
    yield "both", ledger.transfer
    yield f"same sweep at width {ledger.target_width}, expected", ledger.tuning
    if ledger.continued:
        yield f"narrow model, trained on{expected}", ledger.continued
    if ledger.verification:
        yield "verification of the carried rate", ledger.verification
    if ledger.trainings_to_verify:
        fewest, most = ledger.trainings_to_verify
        yield f"verification: {fewest} wide runs or more", fewest * ledger.wide_run
        yield f"verification: {most} wide runs at most", most * ledger.wide_run


def _ratio(value: float, whole: float) -> float:
    return value / whole if whole > 0 else math.nan


def _number(value: float) -> str:
    return "?" if not value > 0 else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _percent(share: float) -> str:
    return "?" if math.isnan(share) else f"{100 * share:.3g} %" if share < 1 else f"{100 * share:,.0f} %"
