"""A transfer from beginning to end: check muP, train wide, measure both models, record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from rich.console import Console

from raytag import provenance
from raytag.config.experiment import ResourcesConfig
from raytag.data.schema import Split
from raytag.errors import CheckError, RaytagError, StudyError
from raytag.files import write_atomically
from raytag.logbook import Status
from raytag.records import SECONDS
from raytag.report.comparison import Comparison, Measured
from raytag.report.ledger import Ledger, ledger_of
from raytag.report.verification import Verification
from raytag.report.warm_start import CONTINUED, NARROW, SCRATCH, WARM, WarmComparison
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.gating import check_mup
from raytag.search.session import Cluster, RaySession, Share, cluster_size, fetch
from raytag.search.study import Study
from raytag.search.watching import repeating
from raytag.transfer import tasks
from raytag.transfer.folder import TRANSFER, WideFolder, read_json
from raytag.transfer.measure import SavedModel
from raytag.transfer.plan import TransferPlan
from raytag.transfer.progress import TrainingProgress
from raytag.transfer.record import WideMirror, final_numbers
from raytag.transfer.train import place_workers, train_wide
from raytag.transfer.verify import find_verification, verify
from raytag.transfer.warm_start import WarmStart
from raytag.transfer.worker import WideJob

__all__ = ["TransferOutcome", "run_transfer"]

MIRROR_SECONDS = 2.0
WIDE = "wide"  # what a wide model from first values is called where it is measured beside the narrow one alone


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


def run_transfer(
    plan: TransferPlan,
    study: StudyFolder,
    console: Console,
    *,
    num_workers: int = 1,
    address: str | None = None,
    restart: bool = False,
    warm: WarmStart | None = None,
    verifies: bool = False,
) -> TransferOutcome:
    """Check muP on the wide experiment, train it, and measure the wide model beside the narrow one.

    A wide model with a warm start is trained after the narrow one has been trained on, and measured beside that too.

    Running it again goes on from the wide model's last checkpoint; a finished one is shown and recorded again.

    Parameters
    ----------
    plan, study
        What to train, and the study it comes from.
    console
        Where progress is shown.
    num_workers
        Processes that train the model together.
    address
        A running Ray cluster; without one, Ray is started on this machine and stopped at the end.
    restart
        Move an existing wide run of this name aside first.
    warm
        What the wide model begins with, where ``plan`` is its ``wide``.
    verifies
        Train the wide model at learning rates around the carried one too (:mod:`raytag.transfer.verify`).

    Raises
    ------
    StudyError
        Another process runs this transfer, its folder holds other settings, or the training failed.
    CheckError
        A muP gate failed.
    """
    folder = WideFolder(study.path / TRANSFER / plan.trial.name)
    with exclusive(folder.lock, f"{folder.path}: another process runs this transfer"):
        if restart and (aside := folder.move_aside()):
            console.print(f"The old wide run lies in {aside} now.", highlight=False, soft_wrap=True)
        folder.prepare(plan)
        if warm:
            folder.continued.prepare(warm.continued)
        transfer = _Transfer(plan, study, folder, console, warm)
        resources = plan.experiment.resources.model_copy(update={"num_workers": num_workers})
        with RaySession(resources, address) as session:
            return transfer.run(session, resources, verifies=verifies)


class _Transfer:
    """One run of the transfer command."""

    def __init__(
        self, plan: TransferPlan, study: StudyFolder, folder: WideFolder, console: Console, warm: WarmStart | None
    ) -> None:
        self.plan, self.study, self.folder, self.console, self.warm = plan, study, folder, console, warm
        self.trainings = [*([(warm.continued, folder.continued)] if warm else []), (plan, folder)]
        self.mirrors = [WideMirror(plan, study, folder, self._say) for plan, folder in self.trainings]

    def run(self, session: RaySession, resources: ResourcesConfig, *, verifies: bool) -> TransferOutcome:
        """Do what is left to do, and record how that ended."""
        if measured := self._known():
            self._say(f"Finished before: {self.folder.path}")
        else:
            measured = self._train_and_measure(session, resources)
        verification = find_verification(self.plan, self.folder)
        outcome = self._conclude(*measured, verification)
        if not verifies or verification:
            return outcome
        self._say(f"\nVerifying the carried learning rate {self.plan.trial.hyperparameters.lr:.3g}")
        return self._conclude(*measured, verify(session, self.plan, self.folder, self.console))

    def _train_and_measure(
        self, session: RaySession, resources: ResourcesConfig
    ) -> tuple[Comparison, WarmComparison | None]:
        """Check muP, train what is left, measure all."""
        self._note_provenance()
        self._sync()  # an URI that can never work is told before anything runs
        try:
            with repeating(self._sync, MIRROR_SECONDS):
                session.start()
                cluster = cluster_size()
                assert resources.num_workers is not None, "the command has a number of its own"
                share = place_workers(resources, cluster, resources.num_workers)
                self._check_mup()
                self._train_all(share, cluster)
                return self._measure(cluster)
        except KeyboardInterrupt:
            session.stop()  # whatever still trains
            self._close("KILLED", "stopped with Ctrl-C")
            raise
        except RaytagError as error:
            self._close("FAILED", str(error))
            raise

    def _known(self) -> tuple[Comparison, WarmComparison | None] | None:
        """Return what was measured before, if that is all that can be measured now."""
        if not self.folder.result.exists():
            return None
        result = read_json(self.folder.result)
        comparison = Comparison(**result["comparison"])
        if not self.warm:
            return comparison, None
        warm = WarmComparison.from_dict(result["warm_start"])
        return (comparison, warm) if warm.models.keys() == self._models().keys() else None

    def _note_provenance(self) -> None:
        """Keep what the trainings of this command are made of."""
        seeds = {"trial": self.plan.trial.seed, "data": self.plan.experiment.training.data_seed}
        code = json.dumps(provenance.collect(seeds).to_dict(), indent=1)
        for plan, folder in self.trainings:
            if not folder.is_trained(plan.experiment):
                folder.add_provenance(code)

    def _check_mup(self) -> None:
        """Run the gates once for this folder; raise CheckError if one fails."""
        experiment = self.plan.experiment
        gates = check_mup(experiment, self.folder, self.console, target_width=self.plan.width)
        if gates and gates["passed"] is False:
            raise CheckError(f"{experiment.name}: a muP gate failed, so the tuned values would not transfer.")

    def _train_all(self, share: Share, cluster: Cluster) -> None:
        """Train what has not been trained to its end."""
        self._say(f"{share} on {cluster.num_nodes} node{'s' * (cluster.num_nodes != 1)}")
        if 0 < cluster.gpus < share.num_workers and self._may_use_gpus:
            self._say(f"They train on the CPU, as there are GPUs for {cluster.gpus:g} of them only.")
        if self.warm:
            fetch(tasks.prepare_starts.remote(self.warm, self.folder))
        for plan, folder in self.trainings:
            if not folder.is_trained(plan.experiment):
                self._train(plan, folder, share)

    def _train(self, plan: TransferPlan, folder: WideFolder, share: Share) -> None:
        job = WideJob(plan.experiment, plan.trial, folder, folder.start if self.warm else None)
        with TrainingProgress(self.console, plan, folder) as progress:
            train_wide(job, share, progress.update)
        if failure := folder.read_progress().failure:
            raise StudyError(f"{plan.trial.name}: {failure}")

    def _models(self) -> dict[str, SavedModel]:
        """Return what is measured, by what it is called in the comparison."""
        wide = SavedModel(self.plan.experiment, self.folder.checkpoint)
        if not self.warm:
            return {NARROW: SavedModel(self.plan.study, self.study.checkpoint(self.plan.narrow)), WIDE: wide}
        narrow, continued = self.warm.continued.experiment, self.folder.continued
        scratch = WideFolder(self.folder.path.with_name(self.warm.scratch.trial.name))
        is_there = scratch.is_trained(self.warm.scratch.experiment)
        return {
            NARROW: SavedModel(narrow, continued.start),
            CONTINUED: SavedModel(narrow, continued.checkpoint),
            **({SCRATCH: SavedModel(self.warm.scratch.experiment, scratch.checkpoint)} if is_there else {}),
            WARM: wide,
        }

    def _measure(self, cluster: Cluster) -> tuple[Comparison, WarmComparison | None]:
        uses_gpu = cluster.gpus >= 1 and self._may_use_gpus
        measure = tasks.measure_all.options(num_gpus=int(uses_gpu))
        split: Split = "test" if self.plan.experiment.data.test else "val"
        with self.console.status("Measuring all models on the same jets ..."):
            measured: Measured = fetch(measure.remote(self._models(), split, "cuda" if uses_gpu else "cpu"))
        if not self.warm:
            return Comparison.of(measured, NARROW, WIDE), None
        return Comparison.of(measured, NARROW, WARM), WarmComparison.of(measured)

    def _conclude(
        self, comparison: Comparison, warm: WarmComparison | None, verification: Verification | None
    ) -> TransferOutcome:
        """Write down and record all results."""
        ledger = self._ledger(verification)
        result = {
            **self.plan.to_dict(),
            "comparison": asdict(comparison),
            "warm_start": warm and warm.to_dict(),
            "verification": verification and verification.to_dict(),
            "cost": ledger.to_dict(),
        }
        write_atomically(self.folder.result, json.dumps(result, indent=2))
        numbers = final_numbers(comparison) | ledger.numbers() | (verification.numbers() if verification else {})
        is_recorded = self._close("FINISHED", numbers=numbers)
        history = self.folder.read_progress().history
        seconds = history[max(history)][SECONDS] if history else math.nan
        uri = self.mirrors[-1].tracking_uri
        return TransferOutcome(
            self.plan, self.folder, comparison, ledger, seconds, uri, is_recorded, warm, verification
        )

    def _ledger(self, verification: Verification | None) -> Ledger:
        """Return what the sweep, the wide training and all beside it cost."""
        records = Study.load(self.study).records()
        ledger = ledger_of(records, self.plan.source, self.plan.width, self.folder.read_progress().cost)
        return replace(
            ledger,
            continued=self.folder.continued.read_progress().cost if self.warm else None,
            verification=verification.cost if verification else None,
        )

    def _sync(self) -> None:
        for mirror in self.mirrors:
            mirror.sync()

    def _close(self, status: Status, failure: str = "", numbers: Mapping[str, float] | None = None) -> bool:
        """End the runs in MLflow, the wide model's with the last numbers; return whether that worked."""
        *others, last = self.mirrors
        are_closed = [mirror.close(status, failure) for mirror in others]
        return last.close(status, failure, numbers) and all(are_closed)

    @property
    def _may_use_gpus(self) -> bool:
        return self.plan.experiment.resources.gpus_per_worker != 0

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
