"""One walk of a tagger through a split, and the figures that come out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from raytag.config.experiment import Task
from raytag.tagging.losses import classification_terms, cross_entropies, vertexing_terms
from raytag.tagging.metrics import flavour_metrics, weighted_mean
from raytag.tagging.packing import JetBatch
from raytag.tagging.tagger import GN2

__all__ = ["ClassWeights", "evaluate", "jet_losses"]


@dataclass(frozen=True)
class ClassWeights:
    """Weights of the classes in the cross entropies."""

    jets: Tensor  # (number of jet classes,)
    origins: Tensor  # (number of track origins,)


def evaluate(
    model: GN2, batches: Iterable[JetBatch], class_weights: ClassWeights, class_names: Sequence[str]
) -> dict[str, float]:
    """Return the metrics of a split, computed without dropout and without label smoothing.

    Returns
    -------
    dict
        ``objective`` (the jet classification loss), ``objective_stderr``, ``loss`` (weighted total), ``<task>_loss``,
        the figures of :func:`raytag.tagging.metrics.flavour_metrics`, ``track_origin_accuracy``, and ``vertexing_f1``
        of the pairs given a probability above one half. What a split cannot give is left out.
    """
    probabilities, labels, cross_entropy = [], [], []
    sums: Counter[str] = Counter()
    with _evaluating(model):
        for batch in batches:
            logits = model(batch)
            jet_logits = logits["jet_classification"]
            probabilities.append(jet_logits.double().softmax(-1).cpu())
            labels.append(batch.jet_labels.cpu())
            cross_entropy.append(_jet_cross_entropies(jet_logits, batch))
            if "track_origin" in logits:
                sums.update(_origin_sums(logits["track_origin"], batch, class_weights.origins))
            if "vertexing" in logits:
                sums.update(_pair_sums(logits["vertexing"], batch))
    jet_labels = torch.cat(labels)
    weights = class_weights.jets.double().cpu()[jet_labels]
    objective, stderr = weighted_mean(torch.cat(cross_entropy).numpy(), weights.numpy())
    losses: dict[Task, float] = {"jet_classification": objective, **_auxiliary_losses(sums)}
    return {
        "objective": objective,
        "objective_stderr": stderr,
        "loss": sum(float(w) * losses[task] for w, task in zip(model.loss_weights, model.tasks, strict=True)),
        **{f"{task}_loss": loss for task, loss in losses.items()},
        **flavour_metrics(torch.cat(probabilities).numpy(), jet_labels.numpy(), class_names),
        **_auxiliary_metrics(sums),
    }


def jet_losses(model: GN2, batches: Iterable[JetBatch], class_weights: ClassWeights) -> tuple[Tensor, Tensor]:
    """Return each jet's cross entropy and the weight of its class, both (J,); their weighted mean is the objective."""
    cross_entropy, labels = [], []
    with _evaluating(model):
        for batch in batches:
            cross_entropy.append(_jet_cross_entropies(model(batch)["jet_classification"], batch))
            labels.append(batch.jet_labels.cpu())
    return torch.cat(cross_entropy), class_weights.jets.double().cpu()[torch.cat(labels)]


def _jet_cross_entropies(logits: Tensor, batch: JetBatch) -> Tensor:
    """Return each jet's cross entropy before class weights, without label smoothing."""
    unweighted = logits.new_ones(logits.shape[-1])
    return cross_entropies(logits, batch.jet_labels, unweighted, logits.new_zeros(())).double().cpu()


@contextmanager
def _evaluating(model: GN2) -> Iterator[None]:
    """Run without gradients and in evaluation mode, and leave the model as it was."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(was_training)


def _origin_sums(logits: Tensor, batch: JetBatch, class_weights: Tensor) -> dict[str, float]:
    assert batch.origins is not None, "the batch was packed without origins"
    no_smoothing = logits.new_zeros(())
    loss, weight = classification_terms(logits, batch.origins, class_weights, no_smoothing)
    num_right = (logits.argmax(-1) == batch.origins).sum()
    return {
        "origin_loss": loss.item(),
        "origin_weight": weight.item(),
        "tracks_right": num_right.item(),
        "tracks": len(logits),
    }


def _pair_sums(logits: Tensor, batch: JetBatch) -> dict[str, float]:
    assert batch.pairs is not None, "the batch was packed without pairs"
    loss, num_matches = vertexing_terms(logits, batch.pairs)
    is_claimed, is_match = logits > 0, batch.pairs.is_match > 0
    return {
        "pair_loss": loss.item(),
        "pair_weight": num_matches.item(),
        "pairs_matching": is_match.sum().item(),
        "pairs_claimed": is_claimed.sum().item(),
        "pairs_found": (is_claimed & is_match).sum().item(),
    }


def _auxiliary_losses(sums: Mapping[str, float]) -> dict[Task, float]:
    losses: dict[Task, float] = {}
    if "origin_weight" in sums:
        losses["track_origin"] = sums["origin_loss"] / sums["origin_weight"]
    if "pair_weight" in sums:
        losses["vertexing"] = sums["pair_loss"] / sums["pair_weight"]
    return losses


def _auxiliary_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if sums.get("tracks"):
        metrics["track_origin_accuracy"] = sums["tracks_right"] / sums["tracks"]
    if sums.get("pairs_matching"):
        metrics["vertexing_f1"] = 2 * sums["pairs_found"] / (sums["pairs_matching"] + sums["pairs_claimed"])
    return metrics
