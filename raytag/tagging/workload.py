"""The jet tagger as a workload: its data, models, losses and metrics behind the one interface."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytag.config.experiment import Experiment
from raytag.data.batches import BatchStream, PackedBatch, sequential
from raytag.data.cache import JetTable, open_split
from raytag.data.folds import assign_folds
from raytag.data.scaling import class_weights
from raytag.data.schema import JET_LABEL, JETS, ORIGIN_LABEL, TRACKS, Origin, Split
from raytag.tagging.evaluation import ClassWeights, evaluate, jet_losses, jet_metrics, predict
from raytag.tagging.losses import classification_terms, vertexing_terms
from raytag.tagging.packing import JetBatch, RowLayout, pack
from raytag.tagging.static import StaticShapes
from raytag.tagging.tagger import GN2
from raytag.training.precision import parameter_dtype
from raytag.training.workload import WHOLE, LossTerms, Shard, TrialModel, Workload

__all__ = ["TaggingWorkload"]

# The slots of a group drift apart by a few steps at most while they share a batch; a batch is about a MB.
NUM_RECENT_BATCHES = 16
BatchLayout = RowLayout | Literal["static"]

# Large enough that the work on jets dwarfs the work per batch.
EVALUATION_BATCH_SIZE = 512


class TaggingWorkload(Workload[JetBatch]):
    """GN2 on the experiment's jets. Splits are opened when they are first asked for."""

    num_recent_batches = NUM_RECENT_BATCHES

    def __init__(self, experiment: Experiment, device: torch.device, shard: Shard = WHOLE) -> None:
        super().__init__(experiment, device, shard)
        self.task_names = experiment.model.tasks
        self.layouts: tuple[BatchLayout, ...] = _layouts(experiment, device)
        self._layout: BatchLayout = self.layouts[0]
        self._dtype = parameter_dtype(experiment.training)
        self._tables: dict[Split, JetTable] = {}
        self._recent: OrderedDict[int, JetBatch] = OrderedDict()

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
            table = open_split(self.experiment.data, split, self.experiment.model.tasks)
            num_folds = self.experiment.search.folds
            is_divided = split == "train" and num_folds > 1
            self._tables[split] = replace(table, folds=assign_folds(table, num_folds)) if is_divided else table
        return self._tables[split]

    def build_model(self, width: int) -> GN2:
        """Build a tagger of this width for the experiment's variables and the file's classes."""
        data, mup = self.experiment.data, self.experiment.mup
        return GN2(
            self.experiment.model,
            num_inputs=len(data.jet_variables) + len(data.track_variables),
            num_classes=len(self.table("train").class_names),
            width=width,
            mup=mup,
        )

    def train_batch(self, step: int) -> JetBatch:
        """Return the minibatch of a trial's own step, laid out once for all trials that are there."""
        if step in self._recent:
            self._recent.move_to_end(step)
        else:
            self._recent[step] = self._pack(self._stream.batch(step))
            if len(self._recent) > NUM_RECENT_BATCHES:
                self._recent.popitem(last=False)
        return self._recent[step]

    def use_layout(self, name: str) -> None:
        """Lay out training batches as ``rows`` or in ``classes``, or as ``static``, rows filled up to a few shapes."""
        super().use_layout(name)
        self._layout = next(layout for layout in self.layouts if layout == name)
        self.has_static_shapes = self._layout == "static"
        self._recent.clear()

    def loss_terms(self, model: TrialModel, batch: JetBatch) -> LossTerms:
        """Run the model on a batch and return its K loss terms, with label smoothing only in training mode.

        Jets of the fold that the model holds out are blanked and counted nowhere.
        """
        assert isinstance(model, GN2)
        counted = batch.count(model.held_out)
        jets, tracks, pairs = (None, None, None) if counted is None else (counted.jets, counted.tracks, counted.pairs)
        logits = model(batch if counted is None else counted.blank(batch))
        smoothing = model.label_smoothing if model.training else torch.zeros_like(model.label_smoothing)
        weights = self._class_weights
        terms = [classification_terms(logits["jet_classification"], batch.jet_labels, weights.jets, smoothing, jets)]
        for task in self.task_names[1:]:
            if task == "track_origin":
                assert batch.origins is not None, "the batch was packed without origins"
                no_smoothing = torch.zeros_like(smoothing)
                terms.append(classification_terms(logits[task], batch.origins, weights.origins, no_smoothing, tracks))
            else:
                assert batch.pairs is not None, "the batch was packed without pairs"
                terms.append(vertexing_terms(logits[task], batch.pairs, pairs))
        numerators, denominators = zip(*terms, strict=True)
        return LossTerms(torch.stack(numerators), torch.stack(denominators))

    def evaluate(self, model: TrialModel, split: Split, fold: int | None = None) -> Mapping[str, float]:
        """Return the metrics of a split, or of a fold (see :func:`raytag.tagging.evaluation.evaluate`)."""
        assert isinstance(model, GN2)
        batches = self.batches(split) if fold is None else self._fold_batches(split, fold)
        return evaluate(model, batches, self._class_weights, self.table(split).class_names)

    def predict(self, model: TrialModel, split: Split) -> Tensor:
        """Return the class probabilities of each jet of a split."""
        assert isinstance(model, GN2)
        return predict(model, self._walk(split, with_pairs=False))

    def score(self, predictions: Tensor, split: Split) -> Mapping[str, float]:
        """Return the objective and the flavour tagging figures of predictions (J, C)."""
        names = self.table(split).class_names
        return jet_metrics(_log(predictions), self._labels(split), self._class_weights, names)

    def objective_terms(self, predictions: Tensor, split: Split) -> tuple[Tensor, Tensor]:
        """Return the jet classification loss of each jet of a split, and the weight of its class."""
        return jet_losses(_log(predictions), self._labels(split), self._class_weights)

    def batches(self, split: Split) -> Iterator[JetBatch]:
        """Walk once through a split in file order."""
        return self._walk(split, with_pairs=self._has_vertexing)

    def _fold_batches(self, split: Split, fold: int) -> Iterator[JetBatch]:
        """Walk once through the training jets that a fold holds out, or as many as there are validation jets."""
        assert split == "val", f"fold {fold} validates, it has no {split} jets"
        folds = self.table("train").folds
        assert folds is not None, "the experiment has one fold only"
        jets = np.flatnonzero(folds == fold)[: len(self.table("val"))]
        return self._walk("train", jets, with_pairs=self._has_vertexing)

    def _walk(self, split: Split, jets: NDArray[np.int64] | None = None, *, with_pairs: bool) -> Iterator[JetBatch]:
        table = replace(self.table(split), folds=None)
        for batch in sequential(table, EVALUATION_BATCH_SIZE, self._dtype, self.device, jets=jets):
            yield pack(batch, with_pairs=with_pairs)

    def _labels(self, split: Split) -> Tensor:
        return torch.from_numpy(self.table(split).labels.astype(np.int64))

    def _pack(self, batch: PackedBatch) -> JetBatch:
        if self._layout == "static":
            return self._static_shapes.pack(batch, with_pairs=self._has_vertexing)
        return pack(batch, with_pairs=self._has_vertexing, layout=self._layout)

    @cached_property
    def _static_shapes(self) -> StaticShapes:
        return StaticShapes(np.diff(self.table("train").offsets), len(self._stream.jets(0)))

    @property
    def _has_vertexing(self) -> bool:
        return "vertexing" in self.task_names

    @cached_property
    def _stream(self) -> BatchStream:
        training = self.experiment.training
        return BatchStream(
            self.table("train"),
            training.batch_size,
            training.data_seed,
            self._dtype,
            self.device,
            rank=self.shard.rank,
            world_size=self.shard.world_size,
        )

    @cached_property
    def _class_weights(self) -> ClassWeights:
        path, num_classes = self.experiment.data.class_dict, len(self.table("train").class_names)
        jets = class_weights(path, JETS, JET_LABEL, num_classes)
        # Without the task class_dict.yaml need not name the origins.
        origins = class_weights(path if "track_origin" in self.task_names else None, TRACKS, ORIGIN_LABEL, len(Origin))
        return ClassWeights(*(torch.from_numpy(weights).to(self.device, self._dtype) for weights in (jets, origins)))


def _layouts(experiment: Experiment, device: torch.device) -> tuple[BatchLayout, ...]:
    """Return the layouts worth measuring: see docs/design.md for those that are not."""
    if device.type == "cuda":
        return ("rows", "classes", "static")
    return ("rows",) if experiment.resources.compile == "off" else ("rows", "static")


def _log(predictions: Tensor) -> Tensor:
    """Return logarithms; a probability of 0 becomes the smallest number, so that no loss is infinite."""
    return predictions.clamp(min=torch.finfo(predictions.dtype).tiny).log()
