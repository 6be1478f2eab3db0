"""Gated late fusion: two opinions are pooled only where validation patients show that it pays, else one is left out.

Concatenating age and sex with a network's features can ruin it (study E: F1 from 0.45 to 0.12). Here each source speaks
for itself, the pool has one weight a source, and a gate that stays shut unless the pool beats the better source alone on
patients it was not fitted on, by more than one standard error (the one-standard-error rule of Breiman, Friedman, Olshen
and Stone, Classification and Regression Trees, 1984). Noise then costs at most the chance of choosing wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .log_pool import fit_pool, pool
from .patient_folds import patient_folds

_REPEATS = 2


@dataclass(frozen=True)
class Gate:
    """Which sources are heard.

    Attributes:
        shares: {source: 0 to 1}, summing to 1; 0 for a source that is not heard.
        losses: {"one source" | "all": log loss on validation patients that weights were not fitted on}.
        gain: how much lower the loss of all together is than that of the best alone.
        error: the standard error of the gain, over patients.
    """

    shares: dict[str, float]
    losses: dict[str, float]
    gain: float
    error: float

    @property
    def open(self) -> bool:
        """Whether the sources are pooled."""
        return self.gain > self.error

    def apply(self, sources: Mapping[str, np.ndarray]) -> np.ndarray:
        """The probabilities of the sources together, float64 (n, k)."""
        return pool([sources[name] for name in self.shares], list(self.shares.values()))

    def __str__(self) -> str:
        """For people."""
        heard = ", ".join(f"{name} {share:.2f}" for name, share in self.shares.items())
        told = "pooled" if self.open else "not pooled"
        return f"{told}: shares {heard}; gain in log loss {self.gain:.3f}, standard error {self.error:.3f}"


def fit_gate(
    sources: Mapping[str, np.ndarray], true: np.ndarray, patients: np.ndarray, *, alone: Sequence[str] | None = None,
    seed: int = 0,
) -> Gate:  # fmt: skip
    """Choose between each source alone and all of them pooled, by log loss under cross-validation over patients.

    Every candidate gets a temperature and a tilt of the classes of its own (`log_pool`), so that none wins by being
    better calibrated or by the classes' shares that it was trained on.

    Args:
        sources: {name: probabilities, float (n, k)}.
        true: int (n,), 0..k-1.
        patients: str (n,).
        alone: the sources that may be heard alone; all of them by default.
    """
    candidates = {name: [values] for name, values in sources.items() if alone is None or name in alone}
    candidates["all"] = list(sources.values())
    folds = [patient_folds(patients, true, seed=seed + repeat) for repeat in range(_REPEATS)]
    losses = {name: _held_out_losses(values, true, folds) for name, values in candidates.items()}
    means = {name: float(values.mean()) for name, values in losses.items()}
    best = min((name for name in candidates if name != "all"), key=means.__getitem__)
    gain, error = _gain(losses[best] - losses["all"], patients)
    shares = fit_pool(candidates["all"], true).shares if gain > error else [float(name == best) for name in sources]
    return Gate(dict(zip(sources, map(float, shares), strict=True)), means, gain, error)


def _held_out_losses(values: list[np.ndarray], true: np.ndarray, divisions: list[np.ndarray]) -> np.ndarray:
    """Log loss of each image under pools fitted on other patients, mean over the divisions into folds: float (n,)."""
    found = np.zeros(len(true))
    for folds in divisions:
        for fold in np.unique(folds):
            fitted, held = folds != fold, folds == fold
            model = fit_pool([source[fitted] for source in values], true[fitted])
            found[held] += model.losses([source[held] for source in values], true[held]) / len(divisions)
    return found


def _gain(differences: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """Mean over images, and its standard error: the images of a patient count as one draw."""
    mean = float(differences.mean())
    _, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    sums = np.bincount(owner, differences - mean)
    drawn = len(sums)
    return mean, float(np.sqrt((sums**2).sum() * drawn / max(1, drawn - 1)) / len(differences))
