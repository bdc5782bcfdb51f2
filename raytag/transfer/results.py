"""What a transfer came to, and the file that keeps it: comparisons of the models, and what all of it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from raytag.config.resolved import Effect, effect_of
from raytag.files import write_atomically
from raytag.records import SECONDS
from raytag.report.comparison import Comparison, Measured
from raytag.report.ledger import Ledger, ledger_of
from raytag.report.verification import Verification
from raytag.report.warm_start import NARROW, WARM, WarmComparison
from raytag.search.study import Study
from raytag.transfer.arms import WIDE, Arms
from raytag.transfer.folder import WideFolder, read_json
from raytag.transfer.plan import TransferPlan
from raytag.transfer.record import WideMirrors, final_numbers

__all__ = ["Results", "TransferOutcome", "conclude", "read_results"]

Digests = Mapping[str, str | None]


@dataclass(frozen=True)
class Results:
    """What was measured; ``warm`` is a warm start's, ``digests`` are those of the models' checkpoints, by name."""

    comparison: Comparison
    warm: WarmComparison | None
    digests: Digests

    @classmethod
    def of(cls, measured: Measured, digests: Digests) -> Results:
        """Compare the models of a transfer."""
        if WARM in measured.models:
            return cls(Comparison.of(measured, NARROW, WARM), WarmComparison.of(measured), digests)
        return cls(Comparison.of(measured, NARROW, WIDE), None, digests)


@dataclass(frozen=True)
class TransferOutcome:
    """What a transfer ended with. ``is_recorded`` says whether MLflow has all of it; ``warm`` is a warm start's."""

    plan: TransferPlan
    folder: WideFolder
    comparison: Comparison
    ledger: Ledger
    training_seconds: float
    tracking_uri: str
    is_recorded: bool
    warm: WarmComparison | None = None
    verification: Verification | None = None


def read_results(arms: Arms) -> Results | None:
    """Return what was measured before, unless there are other models to compare now, or other jets to compare them on.

    A model whose checkpoint was deleted since is not another one.
    """
    if not arms.folder.result.exists():
        return None
    changed = {effect_of(change.key) for change in arms.folder.differing(arms.plan.experiment)}
    if changed & {Effect.RESULTS, Effect.TEST}:
        return None
    written = read_json(arms.folder.result)
    digests = {name: model.digest for name, model in arms.models.items()}
    kept = written.get("digests", {})
    if kept.keys() != digests.keys() or any(digest not in (kept[name], None) for name, digest in digests.items()):
        return None
    warm = written["warm_start"]
    return Results(Comparison(**written["comparison"]), warm and WarmComparison.from_dict(warm), kept)


def conclude(arms: Arms, results: Results, verification: Verification | None, mirrors: WideMirrors) -> TransferOutcome:
    """Write all results down, and record them in MLflow."""
    ledger, comparison, warm = _ledger(arms, verification), results.comparison, results.warm
    written = {
        **arms.plan.to_dict(),
        "comparison": asdict(comparison),
        "warm_start": warm and warm.to_dict(),
        "digests": dict(results.digests),
        "verification": verification and verification.to_dict(),
        "cost": ledger.to_dict(),
    }
    write_atomically(arms.folder.result, json.dumps(written, indent=2))
    numbers = final_numbers(comparison) | ledger.numbers() | (verification.numbers() if verification else {})
    is_recorded = mirrors.close("FINISHED", numbers=numbers)
    history = arms.folder.read_progress().history
    seconds = history[max(history)][SECONDS] if history else math.nan
    uri = mirrors.tracking_uri
    return TransferOutcome(arms.plan, arms.folder, comparison, ledger, seconds, uri, is_recorded, warm, verification)


def _ledger(arms: Arms, verification: Verification | None) -> Ledger:
    """Return what the sweep, the wide training and all beside it cost."""
    records = Study.load(arms.study).records()
    ledger = ledger_of(records, arms.plan.source, arms.plan.width, arms.folder.read_progress().cost)
    return replace(
        ledger,
        continued=arms.folder.continued.read_progress().cost if arms.warm else None,
        verification=verification.cost if verification else None,
    )
