"""Which properties of a photograph or its patient go with the class, and how far they alone would tell it.

A camera, a file format or a brightness that goes with the class is a shortcut: a network may learn it instead of the
disease. Age and sex may go with a disease in truth, and still make two groups that must not be compared naively.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from .association import Association, associate
from .classes import Classes
from .pictures import MEASURES, Pictures

_FOLDS = 5
_FEWEST = 25  # images of the smallest class below which nothing is fitted
_RESAMPLES = 400
# The kinds of factors, and the column of each; what the picture itself shows is in `pictures.MEASURES`.
PATIENT = {
    "age": "age_years",
    "sex": "sex",
    "systolic pressure": "systolic_mmhg",
    "diastolic pressure": "diastolic_mmhg",
}
CAMERA = {"camera": "camera", "source": "source", "generator": "generator", "eye": "eye", "quality": "quality",
          "field of view confidence": "fov_confidence"}  # fmt: skip
KINDS = {"patient": "age, sex, blood pressure", "camera": "camera and file", "light": "brightness, colour, contrast"}


@dataclass(frozen=True)
class Factor:
    """One property: its kind (of KINDS), its values (numbers, or words with missing ""), and how it goes with the class
    (None = not tested)."""

    kind: str
    name: str
    values: pd.Series
    association: Association | None


@dataclass(frozen=True)
class Guess:
    """How well the class is told from one kind of factors ("all": from every one) alone: balanced accuracy 0..1 with a
    95 % interval; chance is 1/k."""

    kind: str
    accuracy: float
    low: float
    high: float
    chance: float
    images: int

    @property
    def tells(self) -> bool:
        """True when the interval begins clearly above chance: 15 % of the way to certainty."""
        return self.low - self.chance > 0.15 * (1 - self.chance)


def find_factors(dataset: FundusDataset, classes: Classes, pictures: Pictures, seed: int = 0) -> list[Factor]:
    """Every factor the dataset knows, the strongest first.

    One image of each patient is drawn by `seed`, because the two eyes of a patient are not independent.
    """
    factors = []
    for kind, name, values in _values(dataset, pictures):
        rows = _one_a_patient(dataset, classes.labelled & values.notna() & (values != ""), seed)
        if values[rows].nunique() > 1:
            factors.append(Factor(kind, name, values, associate(classes.of_image[rows], values[rows])))
    return sorted(factors, key=lambda f: -1 if f.association is None else f.association.v, reverse=True)


def guess_class(dataset: FundusDataset, classes: Classes, pictures: Pictures, factors: list[Factor]) -> list[Guess]:
    """Fit the class on each kind of factors and on all of them, with patients held out; [] when there are too few.

    Logistic regression with balanced classes, five folds by patient; the interval is a bootstrap over patients. Only the
    images that were decoded count.
    """
    rows = pictures.measured.index[classes.labelled[pictures.measured.index]]
    labels = classes.of_image[rows]
    if labels.nunique() < 2 or labels.value_counts().min() < _FEWEST:
        return []
    groups = _patients(dataset)[rows]
    if groups.nunique() < 2 * _FOLDS:
        return []
    parts = {kind: [f for f in factors if f.kind == kind] for kind in KINDS}
    parts = {kind: part for kind, part in parts.items() if part}
    if len(parts) > 1:
        parts["all"] = factors
    return [_guess(name, _features(part, rows), labels.to_numpy(), groups.to_numpy()) for name, part in parts.items()]


def _values(dataset: FundusDataset, pictures: Pictures) -> list[tuple[str, str, pd.Series]]:
    """(kind, name, values) of everything that may go with the class."""
    every = dataset.table.index
    size = [f"{w:.0f} x {h:.0f}" if w == w else "" for w, h in zip(*camera_sizes(dataset, pictures), strict=True)]
    return [
        *(("patient", name, dataset.column(column)) for name, column in PATIENT.items()),
        *(("camera", name, dataset.column(column)) for name, column in CAMERA.items()),
        ("camera", "image size", pd.Series(size, index=every)),
        ("camera", "file format", pictures.files["format"]),
        ("camera", "filled", pictures.measured["filled"].reindex(every)),
        *(("light", name, pictures.measured[name].reindex(every)) for name in MEASURES if name != "filled"),
    ]


def camera_sizes(dataset: FundusDataset, pictures: Pictures) -> tuple[pd.Series, pd.Series]:
    """Width and height of the camera files in pixels; where they are not known, of the images themselves."""
    return (
        dataset.column("camera_width").fillna(pictures.files["width"]),
        dataset.column("camera_height").fillna(pictures.files["height"]),
    )


def _patients(dataset: FundusDataset) -> pd.Series:
    names = dataset.column("patient_id").astype(str)
    return names.where(names != "", [f"\0image {i}" for i in names.index])


def _one_a_patient(dataset: FundusDataset, usable: pd.Series, seed: int) -> pd.Index:
    order = np.random.default_rng(seed).permutation(np.flatnonzero(usable))
    return _patients(dataset).iloc[order].drop_duplicates().index.sort_values()


def _features(factors: list[Factor], rows: pd.Index) -> pd.DataFrame:
    """Numbers with the median for missing ones and a flag, words as 0/1 columns; whatever is constant drops out."""
    parts = []
    for factor in factors:
        values = factor.values[rows]
        if values.dtype.kind == "f":
            parts.append(values.fillna(values.median() if values.notna().any() else 0).rename(factor.name))
            parts.append(values.isna().astype(float).rename(f"{factor.name} missing"))
        else:
            common = values.where(values.map(values.value_counts()) >= _FOLDS, "(rare)")
            parts.append(pd.get_dummies(common, prefix=factor.name, dtype=float))
    return pd.concat(parts, axis=1)


def _guess(name: str, features: pd.DataFrame, labels: np.ndarray, groups: np.ndarray) -> Guess:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    guessed = cross_val_predict(model, features.to_numpy(), labels, groups=groups, cv=GroupKFold(_FOLDS))
    names, truth = np.unique(labels, return_inverse=True)
    _, patient = np.unique(groups, return_inverse=True)
    right = (guessed == labels).astype(float)
    rng = np.random.default_rng(0)
    draws = [_balanced(right, truth, rng.multinomial(n, np.full(n, 1 / n))[patient])
             for n in [patient.max() + 1] for _ in range(_RESAMPLES)]  # fmt: skip
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return Guess(
        name, _balanced(right, truth, np.ones(len(right))), float(low), float(high), 1 / len(names), len(right)
    )


def _balanced(right: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> float:
    """Mean over the classes of the weighted share that is right."""
    total = np.bincount(truth, weight)
    return float(np.nanmean(np.bincount(truth, weight * right) / np.where(total > 0, total, np.nan)))
