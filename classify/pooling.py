"""Several photographs of one patient: one answer for all of them, or each one's answer helped by the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..runtime.errors import UserError
from .log_pool import logarithms, pool

POOLS = ("none", "eye", "patient", "fellow")


def pool_photographs(probabilities: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """One answer a group: the geometric mean of its photographs, float64 (g, k), groups in order of their number.

    The logarithms are averaged, because photographs bring evidence, and evidence adds up: a photograph that shows
    nothing has a flat answer and leaves the decision to the others. (An arithmetic mean would let it dilute them.)

    Args:
        probabilities: float (n, k).
        groups: int (n,), 0..g-1, each there.
    """
    count = np.bincount(groups)
    summed = np.zeros((len(count), np.shape(probabilities)[1]))
    np.add.at(summed, groups, logarithms([probabilities])[0])
    means = np.exp(summed / count[:, None])
    return means / means.sum(axis=1, keepdims=True)


def fellow_answers(probabilities: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """What the patient's other photographs say (geometric mean), float64 (n, k); a photograph that is the only one of its
    patient says it itself.

    Args:
        probabilities: float (n, k).
        patients: str (n,).
    """
    _, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    own = logarithms([probabilities])[0]
    summed = np.zeros((int(owner.max(initial=-1)) + 1, own.shape[1]))
    np.add.at(summed, owner, own)
    others = np.bincount(owner)[owner][:, None] - 1
    means = np.where(others > 0, (summed[owner] - own) / np.maximum(others, 1), own)
    return pool([np.exp(means)], [1.0])


def group_photographs(table: pd.DataFrame, kind: str, eyes: np.ndarray | None = None) -> np.ndarray:
    """Number of each photograph's patient or eye, int (n,), in order of first appearance.

    Args:
        table: predictions, see `predictions.prediction_table`.
        kind: "patient" or "eye".
        eyes: str (n,) for "eye"; a photograph without one is a group of its own.

    Raises:
        UserError: photographs of one group have different classes.
    """
    keys = table["patient_id"].astype(str)
    if kind == "eye":
        eyes = np.asarray(eyes, dtype=object)
        keys = keys + "\0" + np.where(eyes == "", table["file_name"], eyes)
    groups = pd.factorize(keys)[0]
    different = table.groupby(groups)["true"].nunique() > 1
    if different.any():
        raise UserError(
            f"{int(different.sum())} of {len(different)} {kind}s have photographs of different classes, so there is no one "
            f"answer for the {kind}",
            hint="Use --pool fellow, or a target that is the patient's." if kind == "patient" else "Use --pool fellow.",
        )  # fmt: skip
    return groups
