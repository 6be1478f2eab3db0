"""What becomes of predictions: how they are decided, tabled and judged, by the run's target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data.targets import HEMOGLOBIN, MULTILABEL
from .decision import Decision, fit_decision, fit_label_decision
from .hemoglobin_results import hemoglobin_table, write_hemoglobin_results
from .label_results import label_table, write_label_results
from .predictions import prediction_table
from .results import write_results


@dataclass(frozen=True)
class Outcome:
    """One way to be judged.

    Attributes:
        decide: (true, told, classes, head, patients) of the validation images -> Decision; None where there is nothing to decide.
        table: (dataset, labels, told, classes, decision) -> predictions.csv.
        write: see `results.write_results`.
        told: metrics that the command line tells.
    """

    decide: Callable[[np.ndarray, np.ndarray, tuple[str, ...], str, np.ndarray], Decision] | None
    table: Callable[..., pd.DataFrame]
    write: Callable[..., dict[str, dict[str, dict[str, float]]]]
    told: tuple[str, ...]


_CLASSES = Outcome(
    fit_decision, prediction_table, write_results, ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")
)
_LABELS = Outcome(
    lambda true, told, classes, head, patients: fit_label_decision(true, told, classes), label_table, write_label_results,
    ("macro_f1", "macro_auroc", "macro_average_precision", "odir_score"),
)  # fmt: skip
_HEMOGLOBIN = Outcome(
    None, hemoglobin_table, write_hemoglobin_results, ("mae", "bias", "lower_limit", "upper_limit", "anemia_accuracy",
                                                       "anemia_recall"),
)  # fmt: skip


def outcome_of(target: str) -> Outcome:
    """The outcome of a target, see `checkpoint.About`."""
    return {MULTILABEL: _LABELS, HEMOGLOBIN: _HEMOGLOBIN}.get(target, _CLASSES)
