"""predictions.csv: what a classifier said about each image, from which every figure can be computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..data.dataset import FundusDataset
from ..runtime.errors import UserError
from ..runtime.files import write_text
from .evidence import SeedPredictions
from .held_out import patient_keys

PREFIX = "p_"


def prediction_table(
    dataset: FundusDataset, labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> pd.DataFrame:
    """One row an image: file_name, patient_id, split, true, predicted, and p_<class> for each class.

    patient_id is where the image groups in the bootstrap; images without a patient carry "image <digest>".
    """
    names = np.asarray(classes, dtype=object)
    table = pd.DataFrame(
        {
            "file_name": dataset.column("file_name").to_numpy(),
            "patient_id": patient_keys(dataset),
            "split": dataset.column("split").to_numpy(),
            "true": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
        }
    )
    for k, name in enumerate(classes):
        table[PREFIX + name] = probabilities[:, k]
    return table


def write_predictions(path: Path | str, table: pd.DataFrame) -> None:
    """Write predictions.csv atomically; probabilities with 9 significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_predictions(path: Path | str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A predictions.csv and its classes, in the order of the columns.

    Raises:
        UserError: missing, not a predictions.csv, or a class in `true` that has no column.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype={"patient_id": str, "true": str, "predicted": str})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"cannot be read ({error})", path=path) from error
    classes = tuple(name.removeprefix(PREFIX) for name in table.columns if name.startswith(PREFIX))
    if not {"file_name", "patient_id", "true"} <= set(table.columns) or not classes:
        raise UserError("is not a predictions.csv (file_name, patient_id, true, p_<class>...)", path=path)
    unknown = ~table["true"].isin(classes)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise UserError(f"true is {table['true'][row]!r}, expected one of {', '.join(classes)}", path=path, row=row + 2)
    return table, classes


def seed_predictions(table: pd.DataFrame, classes: tuple[str, ...]) -> SeedPredictions:
    """The table of one trained model, for the bootstrap."""
    true = table["true"].map({name: k for k, name in enumerate(classes)}).to_numpy(dtype=int)
    probabilities = table[[PREFIX + name for name in classes]].to_numpy(dtype=np.float64)
    return SeedPredictions(true, probabilities, table["patient_id"].to_numpy(dtype=str))
