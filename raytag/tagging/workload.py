"""The jet tagger as a workload: its data, models, losses and metrics behind the one interface."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from raytag.config.experiment import Experiment, Parametrisation
from raytag.data.batches import BatchStream, sequential
from raytag.data.cache import JetTable, open_split
from raytag.data.scaling import class_weights
from raytag.data.schema import JET_LABEL, JETS, ORIGIN_LABEL, TRACKS, Origin, Split
from raytag.tagging.evaluation import ClassWeights, evaluate, jet_losses
from raytag.tagging.losses import classification_terms, vertexing_terms
from raytag.tagging.packing import JetBatch, pack
from raytag.tagging.tagger import GN2
from raytag.training.workload import WHOLE, LossTerms, Shard, TrialModel, Workload

__all__ = ["TaggingWorkload"]

# The slots of a group drift apart by a few steps at most while they share a batch; a batch is about a MB.
NUM_RECENT_BATCHES = 16
# Large enough that the work on jets dwarfs the work per batch.
EVALUATION_BATCH_SIZE = 512


class TaggingWorkload(Workload[JetBatch]):
    """GN2 on the experiment's jets. Splits are opened when they are first asked for.

    Parameters
    ----------
    experiment
        Names data, model and batches.
    device
        Where batches go.
    shard
        This process's part of every training batch, when several train one model.
    """

    def __init__(self, experiment: Experiment, device: torch.device, shard: Shard = WHOLE) -> None:
        self.task_names = experiment.model.tasks
        self._experiment = experiment
        self._device = device
        self._dtype: torch.dtype = getattr(torch, experiment.training.precision)
        self._tables: dict[Split, JetTable] = {}
        self._recent: OrderedDict[int, JetBatch] = OrderedDict()
        self._shard = shard

    @classmethod
    def open(cls, experiment: Experiment, device: torch.device, shard: Shard = WHOLE) -> TaggingWorkload:
        """Open the experiment's training and validation jets, building their caches if they are missing."""
        workload = cls(experiment, device, shard)
        for split in ("train", "val"):
            workload.table(split)
        return workload

    def table(self, split: Split) -> JetTable:
        """Return a split's jets."""
        if split not in self._tables:
            self._tables[split] = open_split(self._experiment.data, split, self._experiment.model.tasks)
        return self._tables[split]

    def build_model(self, width: int, base_width: int, parametrisation: Parametrisation) -> GN2:
        """Build a tagger of this width for the experiment's variables and the file's classes."""
        data = self._experiment.data
        return GN2(
            self._experiment.model,
            num_inputs=len(data.jet_variables) + len(data.track_variables),
            num_classes=len(self.table("train").class_names),
            width=width,
            base_width=base_width,
            parametrisation=parametrisation,
        )

    def train_batch(self, step: int) -> JetBatch:
        """Return the minibatch of a trial's own step, laid out once for all trials that are there."""
        if step in self._recent:
            self._recent.move_to_end(step)
        else:
            self._recent[step] = pack(self._stream.batch(step), with_pairs=self._has_vertexing)
            if len(self._recent) > NUM_RECENT_BATCHES:
                self._recent.popitem(last=False)
        return self._recent[step]

    def loss_terms(self, model: TrialModel, batch: JetBatch) -> LossTerms:
        """Run the model on a batch and return its K loss terms, with label smoothing only in training mode."""
        assert isinstance(model, GN2)
        logits = model(batch)
        smoothing = model.label_smoothing if model.training else torch.zeros_like(model.label_smoothing)
        weights = self._class_weights
        terms = [classification_terms(logits["jet_classification"], batch.jet_labels, weights.jets, smoothing)]
        for task in self.task_names[1:]:
            if task == "track_origin":
                assert batch.origins is not None, "the batch was packed without origins"
                no_smoothing = torch.zeros_like(smoothing)
                terms.append(classification_terms(logits[task], batch.origins, weights.origins, no_smoothing))
            else:
                assert batch.pairs is not None, "the batch was packed without pairs"
                terms.append(vertexing_terms(logits[task], batch.pairs))
        numerators, denominators = zip(*terms, strict=True)
        return LossTerms(torch.stack(numerators), torch.stack(denominators))

    def evaluate(self, model: TrialModel, split: Split) -> Mapping[str, float]:
        """Return the metrics of a split (see :func:`raytag.tagging.evaluation.evaluate`)."""
        assert isinstance(model, GN2)
        return evaluate(model, self.batches(split), self._class_weights, self.table(split).class_names)

    def objective_terms(self, model: TrialModel, split: Split) -> tuple[Tensor, Tensor]:
        """Return the jet classification loss of each jet of a split, and the weight of its class."""
        assert isinstance(model, GN2)
        return jet_losses(model, self.batches(split), self._class_weights)

    def batches(self, split: Split) -> Iterator[JetBatch]:
        """Walk once through a split in file order."""
        for batch in sequential(self.table(split), EVALUATION_BATCH_SIZE, self._dtype, self._device):
            yield pack(batch, with_pairs=self._has_vertexing)

    @property
    def _has_vertexing(self) -> bool:
        return "vertexing" in self.task_names

    @cached_property
    def _stream(self) -> BatchStream:
        training = self._experiment.training
        return BatchStream(
            self.table("train"),
            training.batch_size,
            training.data_seed,
            self._dtype,
            self._device,
            rank=self._shard.rank,
            world_size=self._shard.world_size,
        )

    @cached_property
    def _class_weights(self) -> ClassWeights:
        path, num_classes = self._experiment.data.class_dict, len(self.table("train").class_names)
        jets = class_weights(path, JETS, JET_LABEL, num_classes)
        # Without the task class_dict.yaml need not name the origins.
        origins = class_weights(path if "track_origin" in self.task_names else None, TRACKS, ORIGIN_LABEL, len(Origin))
        return ClassWeights(*(torch.from_numpy(weights).to(self._device, self._dtype) for weights in (jets, origins)))
