"""`fundus-synth evaluate`: how near synthetic eyes are to real ones that the generator has not seen, and whether they are eyes.

Writes evaluation.json and evaluation.html into the synthetic dataset's folder; its table and fingerprint stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from ...runtime.errors import UserError
from ...runtime.files import write_json
from ...version import __version__
from ..feature_spaces import SPACES, FeatureSpace, comparable, feature_space
from ..features.base import SMALLEST
from .anatomy import Anatomy, check_anatomy, has_anatomy
from .comparison import TOGETHER, Comparison, Measured, compare
from .dataset_features import dataset_features
from .evaluation_report import anatomy_line, headline, write_evaluation_report
from .unseen_eyes import unseen_eyes

FORMAT = "fundus-synth evaluation 1"
JSON, PAGE = "evaluation.json", "evaluation.html"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        synthetic: what was judged.
        against: the real dataset as given.
        real: the images of it that were used.
        size: pixels at which both were looked at.
        distances: {feature space: {class or TOGETHER: comparison}}.
        anatomy: {class or TOGETHER: shares}; a class with too few real eyes is not there.
        lacking: {one of anatomy.FIGURES: the synthetic images without it}, by the limits for all classes.
        distinct: how many different images there are among the synthetic ones.
        notes: what the user should know about the choice of images, one line each.
        command: what makes this again.
    """

    synthetic: FundusDataset
    against: FundusDataset
    real: FundusDataset
    size: int
    distances: dict[str, dict[str, Comparison]]
    anatomy: dict[str, Anatomy]
    lacking: dict[str, np.ndarray]
    distinct: int
    notes: list[str]
    command: list[str]

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.synthetic.path / PAGE

    def summary(self) -> dict:
        """evaluation.json."""
        figures = {
            "images": len(self.synthetic), "distinct_images": self.distinct, "size": self.size,
            "real_images": len(self.real), "real_patients": len(set(self.real.patient_keys)),
            "distances": {space: {group: one.plain_values() for group, one in groups.items()}
                          for space, groups in self.distances.items()},
            "anatomy": {group: one.plain_values() for group, one in self.anatomy.items()},
        }  # fmt: skip
        return {
            "format": FORMAT, "fingerprint": self.synthetic.fingerprint, "against": _described(self.against),
            "command": self.command, "toolkit": f"fundus-synth {__version__}", "figures": figures, "notes": self.notes,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people, in short."""
        told = [headline(space, groups[TOGETHER]) for space, groups in self.distances.items()]
        if TOGETHER in self.anatomy:
            told.append(anatomy_line(self.anatomy[TOGETHER]))
        return [*told, *(f"note: {note}" for note in self.notes), f"report: {self.page}"]

    def table(self) -> pd.DataFrame:
        """One row a class and measure: value, interval, floor, ratio and verdict."""
        rows = [
            {"features": space, "class": group, "images": found.images, "measure": one.measure, "value": one.value.value,
             "low": one.value.low, "high": one.value.high, "real": one.floor.value, "real_low": one.floor.low,
             "real_high": one.floor.high, "ratio": one.ratio, "verdict": one.verdict}
            for space, groups in self.distances.items() for group, found in groups.items() for one in found.judgements
        ]  # fmt: skip
        return pd.DataFrame(rows)


def evaluate(
    synthetic: FundusDataset | Path | str, against: FundusDataset | Path | str, *,
    features: Sequence[str | FeatureSpace] = ("retina",), feature_weights: Sequence[Path | str] = (), seed: int = 0,
    workers: int | None = None, quiet: bool = False,
) -> Evaluation:  # fmt: skip
    """Judge a synthetic dataset by real eyes, per class and together, and write evaluation.json and evaluation.html into it.

    Args:
        synthetic, against: dataset folders; which of the real eyes are used is said in `unseen_eyes`.
        features: feature spaces, by name or ready-made.
        feature_weights: files for those named spaces that have weights (all but retina), in this order.
        seed: of everything random.
        workers: processes; None = one a core.

    Raises:
        UserError: not a dataset folder, no real eye of its classes is left, unknown feature spaces or weights, an image that
            cannot be read or was changed, or images below 64 pixels.
    """
    made, whole = (one if isinstance(one, FundusDataset) else FundusDataset.open(one) for one in (synthetic, against))
    spaces = named_spaces(features, feature_weights)
    retina = spaces.get("retina") or feature_space("retina")
    real, notes = unseen_eyes(whole, made)
    size = common_size(made, real, max(space.size for space in spaces.values()))
    found = {
        name: [dataset_features(space, one, size, workers, quiet) for one in (made, real)]
        for name, space in {**spaces, "retina": retina}.items()
    }
    labels = [one.column("label").to_numpy() if made.class_counts() else np.full(len(one), "") for one in (made, real)]
    distances = {name: _distances(space, *found[name], made, real, labels, seed) for name, space in spaces.items()}
    anatomy = _anatomy(retina, *found["retina"], real, labels, seed)
    notes += [
        f"{group}: too few images to compare" for group, one in next(iter(distances.values())).items() if not one.images
    ]
    distinct = len(np.unique(found["retina"][0], axis=0))
    command = _command(made, whole, features, feature_weights, seed)
    lacking = _lacking(retina, found["retina"][0], anatomy)
    evaluation = Evaluation(made, whole, real, size, distances, anatomy, lacking, distinct, notes, command)
    write_json(made.path / JSON, evaluation.summary())
    write_evaluation_report(evaluation)
    return evaluation


def named_spaces(features: Sequence[str | FeatureSpace], weights: Sequence[Path | str] = ()) -> dict[str, FeatureSpace]:
    """{name: feature space}; files of weights go to the named spaces that have some, in order.

    Raises:
        UserError: no space, more files than spaces with weights, or as in `feature_space`.
    """
    if not features:
        raise UserError("expected at least one feature space", hint=f"Name one of {', '.join(SPACES)} with --features.")
    left = list(weights)
    spaces = []
    for one in features:
        if not isinstance(one, str):
            spaces.append(one)
        elif one == "retina" or not left:
            spaces.append(feature_space(one))
        else:
            spaces.append(feature_space(one, left.pop(0)))
    if left:
        raise UserError(
            f"--feature-weights names {len(weights)} files, but {len(left)} of them have no feature space to go to"
        )
    return {space.name: space for space in spaces}


def common_size(synthetic: FundusDataset, real: FundusDataset, most: int) -> int:
    """The pixels at which both sets are looked at: the smaller side of the two, at most `most`.

    Small synthetic images are not held to the detail of large photographs, which is a question of size and not of likeness.

    Raises:
        UserError: below 64 pixels.
    """
    sides = [max(one.read(0).shape[:2]) for one in (synthetic, real)]
    for side, one in zip(sides, (synthetic, real), strict=True):
        if side < SMALLEST:
            raise UserError(
                f"has images of {side} pixels; expected at least {SMALLEST}, or nothing can be measured", path=one.path
            )
    return min(*sides, most)


def _distances(
    space: FeatureSpace, made_features: np.ndarray, real_features: np.ndarray, made: FundusDataset, real: FundusDataset,
    labels: list[np.ndarray], seed: int,
) -> dict[str, Comparison]:  # fmt: skip
    real_scaled, made_scaled = comparable(space, real_features, made_features)
    sides = (
        Measured(real_scaled, np.asarray(real.patient_keys), labels[1]),
        Measured(made_scaled, _owners(made), labels[0]),
    )
    classes = _classes(labels[0])
    found = {name: compare(*(side.rows(side.labels == name) for side in sides), seed) for name in classes}
    return {**found, TOGETHER: found[classes[0]] if len(classes) == 1 else compare(*sides, seed)}


def _owners(made: FundusDataset) -> np.ndarray:
    """Whose each synthetic image is: a translation's patient, else nobody else's. Not by content: repeats shall count."""
    return np.array([patient or f"image {row}" for row, patient in enumerate(made.column("patient_id"))])


def _anatomy(
    retina: FeatureSpace,
    made: np.ndarray,
    real_features: np.ndarray,
    real: FundusDataset,
    labels: list[np.ndarray],
    seed: int,
) -> dict[str, Anatomy]:
    patients, groups = np.asarray(real.patient_keys), _classes(labels[0])
    rows = {name: (labels[0] == name, labels[1] == name) for name in groups}
    rows[TOGETHER] = (np.ones(len(made), bool), np.ones(len(real), bool))
    found = {
        name: check_anatomy(retina.feature_names, real_features[of_real], patients[of_real], made[of_made], seed)
        for name, (of_made, of_real) in rows.items()
    }
    return {name: one for name, one in found.items() if one is not None}


def _lacking(retina: FeatureSpace, made: np.ndarray, anatomy: dict[str, Anatomy]) -> dict[str, np.ndarray]:
    if TOGETHER not in anatomy:
        return {}
    found = has_anatomy(retina.feature_names, made, anatomy[TOGETHER].limits)
    return {name: np.flatnonzero(~has) for name, has in found.items() if name != "all"}


def _classes(labels: np.ndarray) -> list[str]:
    """The classes of the synthetic images, the largest first."""
    names, numbers = np.unique(labels[labels != ""], return_counts=True)
    return [str(name) for name in names[np.argsort(-numbers, kind="stable")]]


def _described(dataset: FundusDataset) -> dict:
    patients = len(set(dataset.patient_keys))
    return {"name": dataset.name, "fingerprint": dataset.fingerprint, "images": len(dataset), "patients": patients}


def _command(
    made: FundusDataset,
    real: FundusDataset,
    features: Sequence[str | FeatureSpace],
    weights: Sequence[Path | str],
    seed: int,
) -> list[str]:
    spaces = [word for one in features for word in ("--features", one if isinstance(one, str) else one.name)]
    files = [word for one in weights for word in ("--feature-weights", str(one))]
    return [
        "fundus-synth",
        "evaluate",
        str(made.path),
        "--against",
        str(real.path),
        *spaces,
        *files,
        "--seed",
        str(seed),
    ]
