"""python benchmarks/split_balance.py --data DATASET [--seeds 5]

How evenly a split by patient shares out the ODIR codes: the largest deviation of a code's share in a part from the wanted
share, in percentage points, for ten folds and for 80/10/10, over seeds; beside it scikit-learn's StratifiedGroupKFold, which
balances one label (eyes with several are a class of their own) and whose 80/10/10 is made of ten folds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import ODIR_CODES, SPLITS
from fundus_synth.data.splits import k_folds, split_by_patient

FOLDS, RATIOS = 10, (0.8, 0.1, 0.1)


def deviation(codes: np.ndarray, part: np.ndarray, shares: np.ndarray) -> float:
    """Largest deviation in percentage points; codes (n, 8) of 0 and 1, part (n,) numbers from 0."""
    found = np.array([codes[part == number].sum(0) for number in range(len(shares))]) / codes.sum(0)
    return 100 * float(np.abs(found - shares[:, None]).max())


def reference_folds(labels: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """Fold number of each image by scikit-learn."""
    folds = np.empty(len(labels), int)
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels, patients)
    for number, (_, test) in enumerate(split):
        folds[test] = number
    return folds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    table = FundusDataset.open(options.data).table
    codes = table[list(ODIR_CODES)].fillna(0).to_numpy()
    labels = table["label"].replace("", "several").to_numpy(str)
    even, wanted = np.full(FOLDS, 1 / FOLDS), np.array(RATIOS)
    rows = {"ours": [], "StratifiedGroupKFold": []}
    for seed in range(options.seeds):
        split = split_by_patient(table, RATIOS, seed).map(SPLITS.index).to_numpy()
        folds = reference_folds(labels, table["patient_id"].to_numpy(), seed)
        merged = np.where(folds == 0, 2, np.where(folds == 1, 1, 0))
        rows["ours"].append(
            (deviation(codes, k_folds(table, FOLDS, seed).to_numpy(), even), deviation(codes, split, wanted))
        )
        rows["StratifiedGroupKFold"].append((deviation(codes, folds, even), deviation(codes, merged, wanted)))
    for name, found in rows.items():
        (low, low3), (high, high3) = np.min(found, 0), np.max(found, 0)
        print(f"{name:22s} {FOLDS} folds {low:.2f} to {high:.2f}   80/10/10 {low3:.2f} to {high3:.2f} points")


if __name__ == "__main__":
    main()
