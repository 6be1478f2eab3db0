"""How a trained classifier decides: what its run learned from the validation patients beyond the weights.

Fitted after training and kept as checkpoints/decision.json: a temperature (see `calibration`), and, so that more is right
than with the largest probability, factors on the classes, cuts between grades, or a threshold for each label (see
`thresholds`). Nothing here looks at a test patient.

A class with few validation images moves its factor at every image, and what is gained there is chance: the factors are held
back, see `steady_multipliers`. Cuts and thresholds keep the share n / (n + 10) of their way from the middle between two grades
(n is the number of images of the rarer of them) and of their log-odds.

The temperature is fitted to truths of which 1 / (n + 2) is spread over the other classes, n being the validation images, as
Platt (Advances in Large Margin Classifiers, 1999) does. Without it, a classifier that tells a small validation set without a
mistake would be called infallible.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..data.targets import MULTILABEL
from ..runtime.errors import UserError
from ..runtime.files import read_json, write_json
from .calibration import fit_temperature, scale_temperature
from .checkpoint import About
from .heads import REGRESSION
from .steady_multipliers import steady_multipliers
from .thresholds import apply_multipliers, best_cuts, best_thresholds

ARGMAX, VAL = DECIDE = ("argmax", "val")
_FILE = "decision.json"
_KIND = "fundus-synth decision"
_HALF = 10  # validation images of a class with which half of what they ask for is done


@dataclass(frozen=True)
class Decision:
    """What follows from a network's probabilities. One of `multipliers`, `cuts` and `thresholds` may be given.

    Attributes:
        classes: names, in the order of the logits.
        temperature: of the probabilities, see `calibration.scale_temperature`.
        multipliers: a factor on each class, the largest product decides.
        cuts: between neighbouring grades, in grades, ascending, (k - 1,); for the head "regression".
        thresholds: for several labels an image, from where each is present.
    """

    classes: tuple[str, ...]
    temperature: float = 1.0
    multipliers: tuple[float, ...] | None = None
    cuts: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def plain(self) -> bool:
        """Whether the largest probability decides."""
        return self.multipliers is None and self.cuts is None and self.thresholds is None

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities at the temperature: float64 (n, k), see `predict_images` for what goes in."""
        if self.temperature == 1:
            return probabilities
        if self.thresholds is not None:
            return scale_temperature(_two_sided(probabilities), self.temperature)[:, 1].reshape(probabilities.shape)
        return scale_temperature(_logarithms(probabilities), self.temperature)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Class number of each image, int (n,), from the network's own probabilities (not yet calibrated); for several
        labels an image whether each is present, bool (n, k)."""
        if self.cuts is not None:
            return np.searchsorted(self.cuts, grade_values(probabilities), side="right")
        told = self.calibrated(probabilities)
        if self.thresholds is not None:
            return told >= np.asarray(self.thresholds)
        return (told if self.multipliers is None else apply_multipliers(told, np.asarray(self.multipliers))).argmax(1)


def fit_decision(
    true: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], head: str, patients: np.ndarray
) -> Decision:
    """The decision under which validation images of one class each are told best: macro F1 by factors on the classes, or,
    for the head "regression", quadratic kappa by cuts between the grades.

    Args:
        true: int (n,), 0..k-1.
        probabilities: float (n, k), as the network gave them.
        head: see `heads`.
        patients: str (n,).
    """
    temperature = fit_temperature(_logarithms(probabilities), true, doubt=1 / (len(true) + 2))
    counts = np.bincount(true, minlength=len(classes))
    if head == REGRESSION:
        middle = np.arange(len(classes) - 1) + 0.5
        found = best_cuts(true, grade_values(probabilities), len(classes))
        cuts = middle + _share(np.minimum(counts[:-1], counts[1:])) * (found - middle)
        # Neighbours that are kept by different shares must not pass one another.
        return Decision(classes, temperature, cuts=_floats(np.maximum.accumulate(cuts)))
    calibrated = scale_temperature(_logarithms(probabilities), temperature)
    return Decision(classes, temperature, multipliers=_floats(steady_multipliers(true, calibrated, patients)))


def fit_label_decision(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> Decision:
    """The same for several labels an image: each label's F1 by a threshold of its own.

    Args:
        labels: 0/1 (n, k).
        probabilities: float (n, k), as the network gave them.
    """
    labels = np.asarray(labels).astype(int)
    temperature = fit_temperature(_two_sided(probabilities), labels.ravel(), doubt=1 / (len(labels) + 2))
    calibrated = Decision(classes, temperature, thresholds=()).calibrated(probabilities)
    found = np.clip(best_thresholds(labels, calibrated), 1e-6, 1 - 1e-6)
    odds = np.log(found / (1 - found)) * _share(labels.sum(axis=0))
    return Decision(classes, temperature, thresholds=_floats(1 / (1 + np.exp(-odds))))


def grade_values(probabilities: np.ndarray) -> np.ndarray:
    """What the head "regression" told as a number, from its probabilities: float64 (n,), see `heads.RegressionHead`."""
    told = _logarithms(probabilities[:, :2])
    return told[:, 1] - told[:, 0] + 0.5


def save_decision(folder: Path, decision: Decision) -> None:
    """Write decision.json into a run's checkpoints folder, atomically."""
    write_json(folder / _FILE, {"kind": _KIND, **asdict(decision)})


def drop_decision(folder: Path) -> None:
    """Remove decision.json, if any: the weights that it was made for are about to change."""
    (folder / _FILE).unlink(missing_ok=True)


def plain_decision(target: str, classes: tuple[str, ...]) -> Decision:
    """Nothing chosen: the largest probability, or every label from 0.5 upwards."""
    return Decision(classes, thresholds=(0.5,) * len(classes) if target == MULTILABEL else None)


def load_decision(run: Path | str, about: About) -> Decision:
    """The decision of a run folder (or of its checkpoints folder), or `plain_decision` where it holds none.

    Args:
        about: of the run's classifier.

    Raises:
        UserError: a file that is not ours, is damaged, or is about other classes.
    """
    folder = Path(run)
    path = (folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder) / _FILE
    if not path.is_file():
        return plain_decision(about.target, about.classes)
    facts = read_json(path)
    if facts.pop("kind", None) != _KIND:
        raise UserError("is not a decision made by fundus-synth", path=path)
    try:
        lists = {name: tuple(map(float, facts[name])) for name in _SIZES if facts[name] is not None}
        decision = Decision(tuple(facts["classes"]), float(facts["temperature"]), **lists)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"is incomplete or damaged ({error})", path=path) from error
    _check(decision, about.classes, path)
    return decision


# How many numbers each holds, less than there are classes.
_SIZES = {"multipliers": 0, "cuts": 1, "thresholds": 0}


def _check(decision: Decision, classes: tuple[str, ...], path: Path) -> None:
    if decision.classes != classes:
        raise UserError(
            f"is about the classes {', '.join(decision.classes)}, the classifier about {', '.join(classes)}", path=path
        )
    for name, fewer in _SIZES.items():
        values = getattr(decision, name)
        if values is not None and (len(values) != len(classes) - fewer or not np.isfinite(values).all()):
            raise UserError(f"has {name} {list(values)}, expected {len(classes) - fewer} numbers", path=path)
    usable = decision.multipliers is None or min(decision.multipliers) > 0
    if not usable or not 0 < decision.temperature < np.inf:
        raise UserError("has a temperature or a factor that is not above 0", path=path)


def _share(images: np.ndarray) -> np.ndarray:
    return images / (images + _HALF)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.asarray(probabilities, dtype=np.float64)), -700.0)


def _two_sided(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of "absent" and "present" of every label of every image: float64 (n * k, 2)."""
    told = np.asarray(probabilities, dtype=np.float64).ravel()
    return _logarithms(np.stack([1 - told, told], axis=1))
