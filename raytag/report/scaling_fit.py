"""The law L(N, D) = L∞ + A / N^α + B / D^β of model size and data, fitted to losses.

It is the third approach of Hoffmann et al. (arXiv:2203.15556): Huber's loss on the differences of the logarithms, here
in units of each loss's standard error, since short trainings of narrow models scatter ten times as much as others. For
given exponents the law is linear in (L∞, A, B), so only the two exponents are searched, over all of their range, and no
start can be unlucky (variable projection, Golub and Pereyra 1973; for this law Czech et al., arXiv:2603.22339). No
factor may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXPONENTS", "ScalingLaw", "bootstrap_laws", "fit_law"]

Floats = NDArray[np.float64]

EXPONENTS = (0.03, 3.0)  # the range that is searched; a fit that ends at one of its ends has found nothing
GRID, REFINED, ROUNDS = 17, 7, 4  # exponents per axis at first and in each of so many rounds around the best
REWEIGHTINGS = 6
HUBER = 1.345  # standard errors beyond which a deviation counts linearly: 95 % efficiency for normal errors
MIN_ERROR = 1e-3 / HUBER  # relative; with it Huber's loss becomes linear where that of Hoffmann et al. does
# Of the law's three terms, those that may remain when the others would become negative.
SUPPORTS = ((0, 1, 2), (1, 2), (0, 1), (0, 2), (0,))


@dataclass(frozen=True)
class ScalingLaw:
    """L∞ + A / N^α + B / D^β, with N parameters and D training jets."""

    limit: float
    size_factor: float
    size_exponent: float
    data_factor: float
    data_exponent: float

    def loss(self, sizes: Floats | float, data: Floats | float) -> Floats:
        """Return the loss of models of these sizes after so many jets; the two broadcast."""
        of_size = self.size_factor * np.asarray(sizes, float) ** -self.size_exponent
        loss: Floats = self.limit + of_size + self.data_factor * np.asarray(data, float) ** -self.data_exponent
        return loss


def fit_law(sizes: Floats, data: Floats, losses: Floats, errors: Floats | float = 0.0) -> ScalingLaw:
    """Fit the law to losses (n,) of models of ``sizes`` (n,) after ``data`` (n,) jets.

    ``errors`` are the relative standard errors of the losses; deviations beyond 1.3 times that count linearly.
    """
    # Powers of sizes relative to the geometric mean: the columns then have like magnitudes.
    size_unit, data_unit = np.exp(np.log(sizes).mean()), np.exp(np.log(data).mean())
    problem = _Problem(np.log(sizes / size_unit), np.log(data / data_unit), losses, np.maximum(errors, MIN_ERROR))
    grid = np.geomspace(*EXPONENTS, GRID)
    alpha, beta, factors = problem.best(grid, grid)
    ratio = grid[1] / grid[0]
    for _ in range(ROUNDS):
        steps = ratio ** np.linspace(-1, 1, REFINED)
        alpha, beta, factors = problem.best(*(np.clip(center * steps, *EXPONENTS) for center in (alpha, beta)))
        ratio **= 2 / (REFINED - 1)
    limit, of_size, of_data = factors
    return ScalingLaw(float(limit), float(of_size * size_unit**alpha), alpha, float(of_data * data_unit**beta), beta)


def bootstrap_laws(
    sizes: Floats, data: Floats, losses: Sequence[Floats], *, errors: Floats, num_draws: int, seed: int = 0
) -> Floats:
    """Fit as many laws to cells drawn with replacement, and in each drawn cell to seeds drawn so.

    ``losses`` holds an array of seeds per cell. Draws with fewer than three sizes or three amounts of data, to which no
    law can be fitted, are repeated. Returns the laws' fields, shape (num_draws, 5).
    """
    generator = np.random.default_rng(seed)
    laws: list[tuple[float, ...]] = []
    while len(laws) < num_draws:
        drawn = generator.integers(len(sizes), size=len(sizes))
        if min(len(np.unique(sizes[drawn])), len(np.unique(data[drawn]))) < 3:
            continue
        means = np.array([generator.choice(losses[cell], len(losses[cell])).mean() for cell in drawn])
        laws.append(astuple(fit_law(sizes[drawn], data[drawn], means, errors[drawn])))
    return np.array(laws)


@dataclass(frozen=True)
class _Problem:
    """Losses at logarithmic sizes and data, and their relative errors."""

    log_sizes: Floats
    log_data: Floats
    losses: Floats
    errors: Floats | float

    def best(self, alphas: Floats, betas: Floats) -> tuple[float, float, Floats]:
        """Return the best pair of exponents of a grid, and its three factors."""
        alpha, beta = (grid.ravel() for grid in np.meshgrid(alphas, betas, indexing="ij"))
        columns = np.stack(
            [
                np.ones((len(alpha), len(self.losses))),
                np.exp(-alpha[:, None] * self.log_sizes),
                np.exp(-beta[:, None] * self.log_data),
            ],
            axis=-1,
        )
        factors, cost = self._solve(columns)
        chosen = int(cost.argmin())
        return float(alpha[chosen]), float(beta[chosen]), factors[chosen]

    def _solve(self, columns: Floats) -> tuple[Floats, Floats]:
        """Return the factors (G, 3) of G pairs of exponents, and the sums of Huber's loss (G,), by reweighting."""
        fitted = np.broadcast_to(self.losses, columns.shape[:2])
        weights = np.ones_like(fitted)  # those of Huber's loss
        for _ in range(REWEIGHTINGS):
            # log L - log f is (L - f) / √(L f) to second order
            factors = _non_negative(columns, self.losses, weights / (self.losses * fitted * np.square(self.errors)))
            fitted = np.einsum("gnk,gk->gn", columns, factors)
            deviations = np.abs(np.log(self.losses / fitted)) / self.errors
            weights = HUBER / np.maximum(deviations, HUBER)
        inside = np.minimum(deviations, HUBER)
        return factors, (inside * (deviations - inside / 2)).sum(axis=1)


def _non_negative(columns: Floats, losses: Floats, weights: Floats) -> Floats:
    """Solve G weighted least squares for three non-negative factors each; columns (G, n, 3), weights (G, n)."""
    weighted = columns * weights[..., None]
    normal = np.einsum("gnk,gnl->gkl", weighted, columns)
    right = np.einsum("gnk,n->gk", weighted, losses)
    best: Floats = np.zeros_like(right)
    gain = np.full(len(right), -np.inf)
    for support in SUPPORTS:
        terms = np.array(support)
        matrix = normal[:, terms[:, None], terms] + 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(
            len(terms)
        )
        factors = np.linalg.solve(matrix, right[:, terms, None])[..., 0]
        reached = np.where((factors >= 0).all(axis=1), (factors * right[:, terms]).sum(axis=1), -np.inf)
        better = reached > gain
        gain = np.where(better, reached, gain)
        full = np.zeros_like(right)
        full[:, terms] = factors
        best = np.where(better[:, None], full, best)
    return best
