"""What factors on the classes gain in macro F1 on new images, and how much of it is chance where classes are rare.

python benchmarks/steady_multipliers.py --classifiers 16 --seed 11

Simulated classifiers of eight classes as common as ODIR's: each class is seen in one normal variable with a strength of its own,
every classifier is of other quality. Their probabilities are true for the batches that they were trained on: balanced ones, those
of nature, or tilted at random. Factors are fitted on so many validation images and judged on 5000 others, four ways:

    once       `thresholds.best_multipliers`
    share 20   the same, kept by the share n / (n + 20), n being the class's images
    averaged   their logarithms averaged over resampled images
    steady     averaged and kept by the share n / (n + 5): `steady_multipliers`, what `train` does

Prints the change of macro F1 against the largest probability: mean over classifiers and its 95 % interval, and the worst one.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from scipy.stats import t

from fundus_synth.classify.metrics import score
from fundus_synth.classify.steady_multipliers import _HALF, steady_multipliers
from fundus_synth.classify.thresholds import apply_multipliers, best_multipliers

COUNTS = np.array([246, 118, 54, 23, 20, 20, 18, 9])  # validation images a class, of 508
STRENGTHS = np.array([1.2, 1.0, 0.6, 2.5, 1.5, 3.0, 1.5, 1.0])
TILTS = ("balanced", "natural", "tilted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifiers", type=int, default=16, help="of each kind")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    changes = defaultdict(list)
    for _ in range(options.classifiers):
        for counts in (COUNTS, np.maximum(COUNTS // 5, 2)):
            for tilt in TILTS:
                for way, change in _changes(counts, tilt, random):
                    changes[int(counts.sum()), tilt, way].append(change)
    print(f"{'val images':>10} {'trained on':>10} {'factors':>9}  change of macro F1 on new images    worst")
    for (images, tilt, way), values in changes.items():
        half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
        mean = np.mean(values)
        print(f"{images:>10} {tilt:>10} {way:>9}  {mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"
              f"{min(values):>20.3f}")  # fmt: skip


def _changes(counts: np.ndarray, tilt: str, random: np.random.Generator) -> Iterator[tuple[str, float]]:
    prior = {"balanced": np.zeros(8), "natural": np.log(COUNTS / COUNTS.sum()), "tilted": random.normal(size=8) * 0.7}
    strengths = STRENGTHS * random.uniform(0.9, 1.6)
    true, told = _draw(counts, strengths, prior[tilt], random)
    new_true, new_told = _draw(COUNTS * 10, strengths, prior[tilt], random)
    plain = score("macro_f1", new_true, new_told)
    for way, factors in _factors(true, told).items():
        yield way, score("macro_f1", new_true, apply_multipliers(new_told, factors)) - plain


def _draw(
    counts: np.ndarray, strengths: np.ndarray, prior: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    true = np.repeat(np.arange(len(counts)), counts)
    seen = random.normal(size=(len(true), len(counts)))
    seen[np.arange(len(true)), true] += strengths[true]
    scores = strengths * seen - strengths**2 / 2 + prior
    told = np.exp(scores - scores.max(axis=1, keepdims=True))
    return true, told / told.sum(axis=1, keepdims=True)


def _factors(true: np.ndarray, told: np.ndarray) -> dict[str, np.ndarray]:
    counts = np.bincount(true, minlength=told.shape[1])
    once = np.log(best_multipliers(true, told))
    steady = np.log(steady_multipliers(true, told, np.arange(len(true)).astype(str)))
    # The share taken away again; the factors' product is of no importance.
    averaged = steady * (counts + _HALF) / counts
    found = {"once": once, "share 20": once * counts / (counts + 20), "averaged": averaged, "steady": steady}
    return {way: np.exp(steps - steps.mean()) for way, steps in found.items()}


if __name__ == "__main__":
    main()
