"""What a jet tagger is judged by: discriminant, ROC areas, rejections at a fixed b-jet efficiency.

A metric that a sample cannot give, because a class is missing from it, is left out: it is never NaN.

Axes: J jets, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["area_under_curve", "b_discriminant", "flavour_metrics", "rejection", "weighted_mean"]

Floats = NDArray[np.float64]

# Class fractions of the discriminant, raytag's defaults: see b_discriminant.
F_C = 0.2
F_TAU = 0.05
WORKING_POINT = 0.70


def b_discriminant(probabilities: Floats, class_names: Sequence[str]) -> Floats:
    """Return the b-jet discriminant of each jet.

    D_b = log(p_b / (f_c p_c + f_τ p_τ + (1 - f_c - f_τ) p_u)), with f_c = 0.2 and f_τ = 0.05: raytag's defaults, to our
    knowledge those of the public GN2 paper (arXiv:2505.19689). The deployed GN2v01 uses f_τ = 0.01: compare rejections
    only at the same fractions. Without a c or τ class its fraction goes to the light jets.

    Parameters
    ----------
    probabilities
        (J, C) class probabilities.
    class_names
        The C names, among which must be bjets and ujets.
    """
    column = {name: probabilities[:, index] for index, name in enumerate(class_names)}
    fractions = {name: f for name, f in (("cjets", F_C), ("taujets", F_TAU)) if name in column}
    background = (1 - sum(fractions.values())) * column["ujets"]
    background = background + sum(f * column[name] for name, f in fractions.items())
    tiny = np.finfo(np.float64).tiny
    ratio: Floats = np.log(np.maximum(column["bjets"], tiny)) - np.log(np.maximum(background, tiny))
    return ratio


def area_under_curve(signal: Floats, background: Floats) -> float:
    """Return the probability that a signal jet scores above a background jet; a tie counts half."""
    ordered = np.sort(background)
    below = np.searchsorted(ordered, signal, side="left")
    not_above = np.searchsorted(ordered, signal, side="right")
    return float((below + not_above).sum() / (2 * len(signal) * len(background)))


def rejection(signal: Floats, background: Floats, efficiency: float) -> tuple[float, float]:
    """Return 1/(background efficiency) where this share of the signal passes, and its statistical error.

    The error is binomial: σ = r √((1 - 1/r) / n) with n background jets passing. If none passes, one is taken: the
    rejection is then a lower bound, with an error of its own size.
    """
    threshold = np.quantile(signal, 1 - efficiency)
    num_passing = max(int((background >= threshold).sum()), 1)
    value = len(background) / num_passing
    return value, value * math.sqrt((1 - 1 / value) / num_passing)


def flavour_metrics(probabilities: Floats, labels: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, float]:
    """Return ``auc_b_vs_*`` and ``*_rejection_70`` with ``*_rejection_70_stderr``, for light (u) and c jets.

    Parameters
    ----------
    probabilities
        (J, C) class probabilities.
    labels
        (J,) indices into ``class_names``.
    """
    if not {"bjets", "ujets"} <= set(class_names):
        return {}
    scores = b_discriminant(probabilities, class_names)
    of_class = {name: scores[labels == index] for index, name in enumerate(class_names)}
    metrics: dict[str, float] = {}
    for background, name in (("ujets", "light"), ("cjets", "c")):
        if len(of_class["bjets"]) == 0 or len(of_class.get(background, ())) == 0:
            continue
        metrics[f"auc_b_vs_{name}"] = area_under_curve(of_class["bjets"], of_class[background])
        value, error = rejection(of_class["bjets"], of_class[background], WORKING_POINT)
        metrics[f"{name}_rejection_70"], metrics[f"{name}_rejection_70_stderr"] = value, error
    return metrics


def weighted_mean(values: Floats, weights: Floats) -> tuple[float, float]:
    """Return Σ w x / Σ w of independent x, and its standard error √(Σ w² (x - mean)²) / Σ w."""
    total = weights.sum()
    mean = float((weights * values).sum() / total)
    return mean, float(np.sqrt((weights**2 * (values - mean) ** 2).sum()) / total)
