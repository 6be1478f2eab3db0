"""What age, sex and blood pressure alone say of an eye: the baseline that a network has to beat (Mitani and others,
Nature Biomedical Engineering 4, 2020; study E), and the second opinion of `fusion`.

Multinomial logistic regression on cubic splines of each number, with an indicator for what is missing. Classes weigh the
same in the fit, as in balanced batches, so that its answers and those of a network are about equally common classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data.dataset import FundusDataset
from ..data.targets import Target
from ..runtime.errors import UserError

NUMBERS = ("age_years", "systolic_mmhg", "diastolic_mmhg")
SEX = "sex"
_KNOTS = 5


@dataclass(frozen=True)
class MetadataBaseline:
    """A fitted baseline.

    Attributes:
        columns: the columns that training images have values of.
        images, patients: how many it was fitted on.
    """

    columns: tuple[str, ...]
    images: int
    patients: int
    model: object

    def predict(self, dataset: FundusDataset) -> np.ndarray:
        """Class probabilities of the images' patients, float64 (n, k)."""
        return self.model.predict_proba(_frame(dataset, self.columns))


def fit_metadata(dataset: FundusDataset, target: Target, held_out: np.ndarray) -> MetadataBaseline:
    """Fit on the images of patients who are not held out; of a dataset with a split, on its training images.

    Args:
        held_out: str, the patients of val and test, as in `FundusDataset.patient_keys`.

    Raises:
        UserError: no values of any column, or training images without one of the classes.
    """
    labels = target.labels(dataset)
    free = (labels >= 0) & ~np.isin(dataset.patient_keys, held_out)
    if dataset.has_split:
        free &= (dataset.column("split") == "train").to_numpy()
    train, labels = dataset.subset(free), labels[free]
    missing = sorted(set(range(len(target.classes))) - set(labels.tolist()))
    if missing:
        names = ", ".join(target.classes[k] for k in missing)
        raise UserError(f"has no training image of {names} (patients in neither val nor test)", path=dataset.path)
    columns = _filled(train)
    if not columns:
        raise UserError(f"has no values of {', '.join((*NUMBERS, SEX))} in training images", path=dataset.path)
    model = _model(columns).fit(_frame(train, columns), labels)
    return MetadataBaseline(columns, len(train), len(set(train.patient_keys)), model)


def _filled(dataset: FundusDataset) -> tuple[str, ...]:
    """The columns with at least two values that differ."""
    return tuple(name for name in (*NUMBERS, SEX) if dataset.column(name).replace("", np.nan).nunique(dropna=True) > 1)


def _frame(dataset: FundusDataset, columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({name: dataset.column(name).to_numpy() for name in columns})


def _model(columns: tuple[str, ...]):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler

    splines = make_pipeline(
        SimpleImputer(strategy="median"),
        SplineTransformer(n_knots=_KNOTS, knots="quantile", extrapolation="linear"),
        StandardScaler(),
    )
    numbers = make_union(splines, FunctionTransformer(_is_missing))
    features = make_column_transformer(
        (numbers, [name for name in columns if name != SEX]),
        (OneHotEncoder(handle_unknown="ignore"), [name for name in columns if name == SEX]),
    )
    return make_pipeline(features, LogisticRegression(class_weight="balanced", max_iter=2000))


def _is_missing(values) -> np.ndarray:
    return np.isnan(np.asarray(values, dtype=np.float64)).astype(np.float64)
