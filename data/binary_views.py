"""Binary views of a dataset's labels: a class against normal, anaemia by the WHO's cut-offs, referable retinopathy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..runtime.errors import UserError
from .dataset import FundusDataset
from .labels import referable, who_anemia
from .schema import COLUMNS, ODIR_CODES, ODIR_LABELS


def view_classes(word: str) -> tuple[str, str]:
    """Names of the negative and the positive class of a view: "D" -> ("normal", "diabetes")."""
    return ("not referable", word) if word == "referable" else ("normal", ODIR_LABELS.get(word, word))


def view(dataset: FundusDataset, word: str) -> np.ndarray:
    """1 where an image is `word`, 0 where it is the other side, NaN where it is neither or not known: float64 (n,).

    Args:
        word: "anemic" (by the WHO's cut-offs; by `label` in a dataset without any haemoglobin), "referable", an ODIR
            code or class name, or any other class of the column label.

    Raises:
        UserError: a pregnancy that cannot be.
    """
    if word == "referable":
        grade = number_column(dataset, "grade")
        return np.where(np.isnan(grade), np.nan, referable(grade))
    if word == "anemic" and not np.isnan(number_column(dataset, "hemoglobin_g_dl")).all():
        return _anemic(dataset)
    return _against_normal(dataset, view_classes(word)[1])


def _against_normal(dataset: FundusDataset, name: str) -> np.ndarray:
    """The columns N..O know eyes with several diseases, `label` knows all other classes."""
    label = dataset.column("label").to_numpy()
    truth = np.where(label == name, 1.0, np.where(label == "normal", 0.0, np.nan))
    code = next((code for code in ODIR_CODES if ODIR_LABELS[code] == name), None)
    if code is not None:
        truth[number_column(dataset, "N") == 1] = 0
        truth[number_column(dataset, code) == 1] = 1
    return truth


def _anemic(dataset: FundusDataset) -> np.ndarray:
    """Not known without haemoglobin, without the sex of an adult, and below the age that the WHO's table starts at."""
    names = ("hemoglobin_g_dl", "age_years", "pregnancy_trimester")
    people = zip(dataset.column("sex"), *(number_column(dataset, name) for name in names), strict=True)
    return np.array([_anemia_of(dataset, i, *person) for i, person in enumerate(people)], dtype=float)


def _anemia_of(dataset: FundusDataset, index: int, sex: str, value: float, age: float, trimester: float) -> float:
    if np.isnan(value) or age < 0.5 or (sex == "" and not age < 15):
        return np.nan
    try:
        return float(who_anemia(sex, value, age, trimester))
    except UserError as error:
        name = dataset.table["file_name"][index]
        raise UserError(f"{error.message} (image {name})", path=dataset.path / "metadata.csv") from error


def number_column(dataset: FundusDataset, name: str) -> np.ndarray:
    """A column as float64 (n,), missing NaN, also when the schema does not know it and it was kept as text.

    Raises:
        UserError: a value that is no number; the image is named.
    """
    values = dataset.column(name)
    numbers = pd.to_numeric(values.where(values != ""), errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(np.isnan(numbers) & values.notna().to_numpy() & (values != "").to_numpy())
    if len(wrong):
        told = f"{name} is {values.iloc[wrong[0]]!r} for {dataset.table['file_name'][wrong[0]]}; expected a number"
        raise UserError(told, path=dataset.path / "metadata.csv")
    return numbers


def text_column(dataset: FundusDataset, name: str) -> np.ndarray:
    """A column of words as object (n,), missing "".

    Raises:
        UserError: the schema says that it holds numbers.
    """
    column = COLUMNS.get(name)
    if column is not None and column.numeric:
        raise UserError(f"{name} holds numbers ({column.meaning}); expected it beside a number, not a word")
    return dataset.column(name).to_numpy(dtype=object)
