"""A workload of milliseconds: one attention layer on synthetic events, with a parameter of every muP role.

An event has N tokens of F numbers. Task one classifies it, task two reconstructs a product of its numbers. Tests of
training and search use it where the physics does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raytag.config.experiment import Experiment
from raytag.config.hyperparameters import Hyperparameters
from raytag.data.schema import Split
from raytag.mup.layers import HiddenLinear, InputLinear, PackedQKVLinear, ReadoutLinear
from raytag.mup.roles import Declaration, Role, declare
from raytag.training.dropout import SeededDropout
from raytag.training.precision import parameter_dtype
from raytag.training.workload import WHOLE, LossTerms, Shard, TrialModel, Workload

CPU = torch.device("cpu")
NUM_TOKENS, NUM_FEATURES, NUM_CLASSES, NUM_HEADS = 3, 5, 3, 2
NUM_TRAIN, NUM_VAL = 2048, 512


@dataclass(frozen=True)
class ToyBatch:
    features: Tensor  # (J, N, F)
    labels: Tensor  # (J,)
    targets: Tensor  # (J, 1)
    folds: Tensor | None = None  # (J,)


class ToyModel(TrialModel):
    """Input layer, a learned token, self-attention and a feed-forward step with residuals, two readouts."""

    def __init__(self, width: int, base_width: int) -> None:
        super().__init__()
        m = width / base_width
        head, base_head = width // NUM_HEADS, base_width // NUM_HEADS
        self.attention_scale = math.sqrt(base_head) / head
        self.embed = InputLinear(NUM_FEATURES, width)
        self.token = nn.Parameter(torch.empty(1, width))
        declare(self, token=Declaration(Role.VECTOR, init_std=1.0))
        self.attend_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = PackedQKVLinear(width)
        self.attend = HiddenLinear(width, width)
        self.feed_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.feed = HiddenLinear(width, width)
        self.classify = ReadoutLinear(width, NUM_CLASSES, m)
        self.regress = ReadoutLinear(width, 1, m)
        self.register_buffer("alpha_attention", torch.ones(()))
        self.register_buffer("label_smoothing", torch.zeros(()))
        self.register_buffer("loss_weights", torch.ones(2))
        self.register_buffer("held_out", torch.tensor(-1))
        self.drop_attended = SeededDropout(self.dropout)
        self.drop_fed = SeededDropout(self.dropout)

    def set_hyperparameters(self, hyperparameters: Hyperparameters) -> None:
        self.alpha_attention.fill_(hyperparameters.alpha_attention)
        self.dropout.set_probability(hyperparameters.dropout)
        self.label_smoothing.fill_(hyperparameters.label_smoothing)
        self.loss_weights.copy_(
            torch.tensor([hyperparameters.loss_weight_jet_classification, hyperparameters.loss_weight_track_origin])
        )
        for readout in (self.classify, self.regress):
            readout.alpha_output.fill_(hyperparameters.alpha_output)

    def hold_out(self, fold: int | None) -> None:
        self.held_out.fill_(-1 if fold is None else fold)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([self.embed(features), self.token.expand(len(features), 1, -1)], dim=1)
        tokens = tokens + self.drop_attended(self._self_attention(self.attend_norm(tokens)))
        tokens = tokens + self.drop_fed(functional.relu(self.feed(self.feed_norm(tokens))))
        pooled = tokens.mean(1)
        return self.classify(pooled), self.regress(pooled)

    def _self_attention(self, tokens: Tensor) -> Tensor:
        events, length, width = tokens.shape
        packed = self.qkv(tokens).view(events, length, 3, NUM_HEADS, width // NUM_HEADS)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-1, -2) * (self.attention_scale * self.alpha_attention)
        mixed = logits.softmax(-1) @ value
        return self.attend(mixed.transpose(1, 2).reshape(events, length, width))


class ToyWorkload(Workload[ToyBatch]):
    """The same events for everyone; batches are keyed by the experiment's data seed and the step."""

    task_names = ("classification", "regression")
    has_static_shapes = True
    num_recent_batches = 4

    def __init__(self, experiment: Experiment, device: torch.device = CPU, shard: Shard = WHOLE) -> None:
        assert device.type == "cpu"
        super().__init__(experiment, device, shard)
        self.batch_size, dtype = experiment.training.batch_size, parameter_dtype(experiment.training)
        self.events = {split: _events(count, split, dtype) for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL))}
        if experiment.search.folds > 1:
            folds = torch.arange(NUM_TRAIN) % experiment.search.folds
            self.events["train"] = replace(self.events["train"], folds=folds)
        self._recent: dict[int, ToyBatch] = {}

    @classmethod
    def open(cls, experiment: Experiment, device: torch.device = CPU, shard: Shard = WHOLE) -> ToyWorkload:
        return cls(experiment, device, shard)

    def build_model(self, width: int) -> ToyModel:
        mup = self.experiment.mup
        return ToyModel(width, mup.base_of(width))

    def train_batch(self, step: int) -> ToyBatch:
        if step not in self._recent:
            generator = torch.Generator().manual_seed(1_000_003 * self.experiment.training.data_seed + step)
            rows = torch.randint(0, NUM_TRAIN, (self.batch_size,), generator=generator)
            self._recent[step] = _select(self.events["train"], rows[self.shard.rank :: self.shard.world_size])
        return self._recent[step]

    def loss_terms(self, model: TrialModel, batch: ToyBatch) -> LossTerms:
        scores, values = model(batch.features)
        surprises = -scores.log_softmax(-1)
        of_label = surprises.gather(-1, batch.labels[:, None]).squeeze(-1)
        losses = [
            torch.lerp(of_label, surprises.mean(-1), model.label_smoothing),
            functional.mse_loss(values, batch.targets, reduction="none").squeeze(-1),
        ]
        counted = torch.ones_like(scores[:, 0]) if batch.folds is None else (batch.folds != model.held_out).to(scores)
        sums = [torch.where(counted > 0, loss, 0).sum() for loss in losses]
        return LossTerms(torch.stack(sums), torch.stack([counted.sum()] * 2))

    @torch.no_grad()
    def evaluate(self, model: TrialModel, split: Split, fold: int | None = None) -> Mapping[str, float]:
        batch = self.events[split] if fold is None else self._held_out(fold)
        scores, values = model(batch.features)
        per_event = functional.cross_entropy(scores, batch.labels, reduction="none")
        losses = torch.stack([per_event.mean(), functional.mse_loss(values, batch.targets)])
        return {
            "loss": float((model.loss_weights * losses).sum()),
            "classification_loss": float(losses[0]),
            "regression_loss": float(losses[1]),
            "objective": float(losses[0]),
            "objective_stderr": float(per_event.std() / math.sqrt(len(per_event))),
            "accuracy": float((scores.argmax(1) == batch.labels).double().mean()),
        }

    @torch.no_grad()
    def predict(self, model: TrialModel, split: Split) -> Tensor:
        return model(self.events[split].features)[0].double().softmax(-1)

    def score(self, predictions: Tensor, split: Split) -> Mapping[str, float]:
        losses, _ = self.objective_terms(predictions, split)
        return {"objective": float(losses.mean()), "objective_stderr": float(losses.std() / math.sqrt(len(losses)))}

    def objective_terms(self, predictions: Tensor, split: Split) -> tuple[Tensor, Tensor]:
        losses = functional.nll_loss(predictions.log(), self.events[split].labels, reduction="none")
        return losses, torch.ones_like(losses)

    def _held_out(self, fold: int) -> ToyBatch:
        events = self.events["train"]
        return _select(events, torch.where(events.folds == fold)[0][:NUM_VAL])

    def batches(self, split: Split) -> Iterator[ToyBatch]:
        batch = self.events[split]
        for start in range(0, len(batch.labels), self.batch_size):
            yield _select(batch, torch.arange(start, min(start + self.batch_size, len(batch.labels))))


def toy_experiment(**sections: Any) -> Experiment:
    """Return an experiment of the toy, which names files that do not exist; sections replace parts of the defaults."""
    defaults: dict[str, Any] = {
        "name": "toy",
        "data": {"train": "train.h5", "val": "val.h5", "norm_dict": "norm_dict.yaml"},
        "mup": {"base_width": 32},
        "training": {"num_steps": 50, "batch_size": 32, "evaluate_every": 10},
        "search": {"space": "space.yaml", "widths": (32, 64), "trials_per_width": 4, "first_rung": 10},
    }
    merged = {
        key: {**defaults.get(key, {}), **sections.get(key, {})} if isinstance(defaults.get(key, {}), dict) else value
        for key, value in {**defaults, **sections}.items()
    }
    return Experiment.model_validate(merged)


def _events(count: int, split: str, dtype: torch.dtype) -> ToyBatch:
    """Draw events whose class is a noisy nonlinear function of all tokens."""
    generator = torch.Generator().manual_seed({"train": 11, "val": 12}[split])
    features = torch.randn(count, NUM_TOKENS, NUM_FEATURES, generator=generator, dtype=torch.float64)
    spread = features[:, :, 2].amax(1) + features[:, :, 0].abs().mean(1)
    noise = torch.randn(count, generator=generator, dtype=torch.float64)
    labels = torch.bucketize(spread + 0.3 * noise, torch.tensor([1.2, 2.0], dtype=torch.float64))
    targets = (features[:, :, 3] * features[:, :, 4]).sum(1, keepdim=True)
    return ToyBatch(features.to(dtype), labels, targets.to(dtype))


def _select(batch: ToyBatch, rows: Tensor) -> ToyBatch:
    folds = None if batch.folds is None else batch.folds[rows]
    return ToyBatch(batch.features[rows], batch.labels[rows], batch.targets[rows], folds)
