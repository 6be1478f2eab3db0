"""How far a decision alone could bring a classifier: factors on its classes that are fitted to the very patients it is tested on.

    python benchmarks/ceiling.py RUN [RUN...]

For each run folder of `fundus-classify train` or `combine`: macro F1 of the test images by the largest probability, as the
run decided (fitted on val), and with the factors that `thresholds.best_multipliers` finds on the test images themselves. The
last is no result, as its factors have seen the answers; it says how much of what is missing a better decision could ever give,
and how much only a better network. Then the F1 of each class under those factors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fundus_synth.classify.metrics import by_class, score
from fundus_synth.classify.predictions import decided_predictions, read_predictions, seed_predictions
from fundus_synth.classify.thresholds import apply_multipliers, best_multipliers


def main() -> None:
    """Read, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        table, classes = read_predictions(run / "predictions.csv")
        test = table[table["split"] == "test"].reset_index(drop=True)
        told, decided = seed_predictions(test, classes), decided_predictions(test, classes)
        best = apply_multipliers(told.probabilities, best_multipliers(told.true, told.probabilities))
        certain = np.eye(len(classes))[best.argmax(axis=1)]
        ways = {"largest": told.probabilities, "decided": decided.probabilities, "ceiling": certain}
        figures = {name: float(score("macro_f1", told.true, way)) for name, way in ways.items()}
        print(run.name, *(f"{name} {value:.3f}" for name, value in figures.items()), sep="  ")
        each = by_class(told.true, certain, classes)
        print("   ceiling by class:", ", ".join(f"{row['class']} {row['f1']:.2f}" for _, row in each.iterrows()))


if __name__ == "__main__":
    main()
