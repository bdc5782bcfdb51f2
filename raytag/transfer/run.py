"""A transfer from beginning to end: check muP, train wide, measure both models, record."""

from __future__ import annotations

import json

from rich.console import Console

from raytag import provenance
from raytag.config.experiment import ResourcesConfig
from raytag.data.schema import Split
from raytag.errors import CheckError, RaytagError, StudyError
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.gating import check_mup
from raytag.search.session import Cluster, RaySession, Share, cluster_size, fetch
from raytag.search.watching import repeating
from raytag.transfer import tasks
from raytag.transfer.arms import Arms
from raytag.transfer.folder import TRANSFER, WideFolder
from raytag.transfer.plan import TransferPlan
from raytag.transfer.progress import TrainingProgress
from raytag.transfer.record import WideMirror, WideMirrors
from raytag.transfer.results import Results, TransferOutcome, conclude, read_results
from raytag.transfer.train import place_workers, train_wide
from raytag.transfer.verify import find_verification, verify
from raytag.transfer.warm_start import WarmStart
from raytag.transfer.worker import WideJob

__all__ = ["run_transfer"]

MIRROR_SECONDS = 2.0


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
        arms = Arms(plan, study, folder, warm)
        arms.prepare()
        transfer = _Transfer(arms, console)
        resources = plan.experiment.resources.model_copy(update={"num_workers": num_workers})
        with RaySession(resources, address) as session:
            return transfer.run(session, resources, verifies=verifies)


class _Transfer:
    """One run of the transfer command."""

    def __init__(self, arms: Arms, console: Console) -> None:
        self.arms, self.plan, self.folder, self.console = arms, arms.plan, arms.folder, console
        mirrors = [WideMirror(plan, arms.study, folder, self._say) for plan, folder in arms.trainings]
        self.mirrors = WideMirrors(mirrors)

    def run(self, session: RaySession, resources: ResourcesConfig, *, verifies: bool) -> TransferOutcome:
        """Do what is left to do, and record how that ended."""
        if results := read_results(self.arms):
            self._say(f"Finished before: {self.folder.path}")
        else:
            results = self._train_and_measure(session, resources)
        verification = find_verification(self.plan, self.folder)
        outcome = conclude(self.arms, results, verification, self.mirrors)
        if not verifies or verification:
            return outcome
        self._say(f"\nVerifying the carried learning rate {self.plan.trial.hyperparameters.lr:.3g}")
        verification = verify(session, self.plan, self.folder, self.console)
        return conclude(self.arms, results, verification, self.mirrors)

    def _train_and_measure(self, session: RaySession, resources: ResourcesConfig) -> Results:
        """Check muP, train what is left, measure all."""
        self._note_provenance()
        self.mirrors.sync()  # an URI that can never work is told before anything runs
        try:
            with repeating(self.mirrors.sync, MIRROR_SECONDS):
                session.start()
                cluster = cluster_size()
                assert resources.num_workers is not None, "the command has a number of its own"
                share = place_workers(resources, cluster, resources.num_workers)
                self._check_mup()
                self._train_all(share, cluster)
                return self._measure(cluster)
        except KeyboardInterrupt:
            session.stop()  # whatever still trains
            self.mirrors.close("KILLED", "stopped with Ctrl-C")
            raise
        except RaytagError as error:
            self.mirrors.close("FAILED", str(error))
            raise

    def _note_provenance(self) -> None:
        """Keep what the trainings of this command are made of."""
        seeds = {"trial": self.plan.trial.seed, "data": self.plan.experiment.training.data_seed}
        code = json.dumps(provenance.collect(seeds).to_dict(), indent=1)
        for plan, folder in self.arms.trainings:
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
        if self.arms.warm:
            fetch(tasks.prepare_starts.remote(self.arms.warm, self.folder))
        for plan, folder in self.arms.trainings:
            if not folder.is_trained(plan.experiment):
                self._train(plan, folder, share)

    def _train(self, plan: TransferPlan, folder: WideFolder, share: Share) -> None:
        job = WideJob(plan.experiment, plan.trial, folder, folder.start if self.arms.warm else None)
        with TrainingProgress(self.console, plan, folder) as progress:
            train_wide(job, share, progress.update)
        if failure := folder.read_progress().failure:
            raise StudyError(f"{plan.trial.name}: {failure}")

    def _measure(self, cluster: Cluster) -> Results:
        uses_gpu = cluster.gpus >= 1 and self._may_use_gpus
        measure = tasks.measure_all.options(num_gpus=int(uses_gpu))
        split: Split = "test" if self.plan.experiment.data.test else "val"
        models = self.arms.models
        digests = {name: model.digest for name, model in models.items()}
        with self.console.status("Measuring all models on the same jets ..."):
            return Results.of(fetch(measure.remote(models, split, "cuda" if uses_gpu else "cpu")), digests)

    @property
    def _may_use_gpus(self) -> bool:
        return self.plan.experiment.resources.gpus_per_worker != 0

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
