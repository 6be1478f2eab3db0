"""Does a model file say what PyTorch says? Measured on every validation image, as probabilities, decisions and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...data.wider_targets import target_of
from ...preprocess.dataset_masks import whole_field
from ...preprocess.standardize import STANDARD_SIZE
from ...runtime.progress import Progress
from ..backbones import Classifier
from ..checkpoint import About
from ..decision import Decision
from ..metrics import binary_auroc, score
from ..predictions import predict_images, present
from ..tasks import task_of
from ..trained_on import known_rows_of_split
from .answer import give_answer
from .model_file import ModelFile

_BATCH = 32


@dataclass(frozen=True)
class Told:
    """What was told about n images.

    Attributes:
        values: calibrated probabilities (haemoglobin: the number), float64 (n, k).
        labels: what was decided; [] for haemoglobin.
        features: of a model file, float32 (n, d); None from PyTorch.
    """

    values: np.ndarray
    labels: list[str]
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Parity:
    """A model file against PyTorch.

    Attributes:
        images: validation images that both looked at.
        difference: the largest between two probabilities (haemoglobin: g/dL).
        same: images about which both decide the same; None for haemoglobin, where nothing is decided.
        torch, file: metrics of each by name; higher is better but for mae.
    """

    images: int
    difference: float
    same: int | None
    torch: dict[str, float]
    file: dict[str, float]

    @property
    def loss(self) -> float:
        """By how much the file's worst metric falls behind PyTorch's; of haemoglobin the error by its share of PyTorch's.
        nan when it cannot be told."""
        if "mae" in self.torch:
            return (self.file["mae"] - self.torch["mae"]) / max(self.torch["mae"], 1e-9)
        # What the validation images cannot tell of either is no loss.
        falls = [value - self.file[name] for name, value in self.torch.items() if np.isfinite(value)]
        return float(np.max(falls)) if falls else float("nan")

    def summary(self) -> dict:
        """Plain values."""
        return {
            "images": self.images, "max_difference": self.difference, "same_decisions": self.same,
            "torch": self.torch, "file": self.file,
        }  # fmt: skip

    def line(self) -> str:
        """The same for people."""
        decided = "" if self.same is None else f", the same decision for {self.same}"
        metrics = ", ".join(f"{name} {self.file[name]:.4f} (PyTorch {value:.4f})" for name, value in self.torch.items())
        return f"of {self.images} validation images: largest difference {self.difference:.1e}{decided}; {metrics}"


@dataclass(frozen=True)
class ValidationImages:
    """The validation images of a run.

    Attributes:
        size: of the classifier's input, pixels.
        about: of the classifier.
    """

    dataset: FundusDataset
    about: About
    size: int

    @classmethod
    def of(cls, dataset: FundusDataset, about: About, size: int) -> ValidationImages:
        """Those of the run's validation patients.

        Raises:
            UserError: there is none in the dataset.
        """
        return cls(dataset.subset(known_rows_of_split(dataset, about, "val")), about, size)

    def squares(self, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Batches of standardised images, uint8 (side, side, 3), each of its own side."""
        with Progress(len(self.dataset), "comparing with PyTorch", quiet=quiet) as progress:
            for start in range(0, len(self.dataset), _BATCH):
                rows = range(start, min(start + _BATCH, len(self.dataset)))
                yield [standard_square(self.dataset.read(row), self.size) for row in rows]
                progress.advance(len(rows))

    def told_by_torch(self, model: Classifier, decision: Decision, quiet: bool) -> Told:
        """What the classifier tells, as predictions.csv does, of images that are black outside of the circle."""
        parts, task = [], task_of(self.about.target)
        for batch in self.squares(quiet):
            seen = [
                fit_square(np.where(whole_field(len(square))[..., None] > 0, square, 0), self.size) for square in batch
            ]
            parts.append(predict_images(model, np.stack(seen), task=task))
        told = np.concatenate(parts)
        if self.about.target == HEMOGLOBIN:
            return Told(told, [])
        decided = decision.decide(told)
        several = self.about.target == MULTILABEL
        labels = [present(row, self.about.classes) if several else self.about.classes[row] for row in decided]
        return Told(decision.calibrated(told), labels)

    def told_by_file(self, file: ModelFile, quiet: bool) -> Told:
        """What a model file tells."""
        values, labels, features = [], [], []
        for batch in self.squares(quiet):
            for square in batch:
                seen = file.look(square[None])
                values.append(seen.told[0])
                features.append(seen.features[0])
                labels.append(give_answer(file.rules, seen.told[0], seen.features[0], 1.0, "", 1.0).label)
        labels = [] if self.about.target == HEMOGLOBIN else labels
        return Told(np.stack(values).astype(np.float64), labels, np.stack(features))

    @property
    def truth(self) -> np.ndarray:
        """What is right: int (n,); of several labels 0/1 (n, k); of haemoglobin g/dL, float (n,)."""
        return target_of(self.about.target, self.about.classes).labels(self.dataset)

    def metrics(self, told: Told) -> dict[str, float]:
        """Macro AUROC; of one class an image also kappa of the decisions, quadratic for grades; of haemoglobin the mean
        absolute error in g/dL."""
        truth = self.truth
        if self.about.target == HEMOGLOBIN:
            return {"mae": float(np.abs(told.values[:, 0] - truth).mean())}
        if self.about.target == MULTILABEL:
            once = np.ones((1, len(truth)))
            each = [binary_auroc(truth[:, k] > 0, told.values[:, k], once)[0] for k in range(truth.shape[1])]
            return {"macro_auroc": float(np.nanmean(each))}
        return {
            "macro_auroc": float(score("macro_auroc", truth, told.values)),
            "kappa": self._kappa(truth, told.labels),
        }

    def _kappa(self, truth: np.ndarray, labels: list[str]) -> float:
        from sklearn.metrics import cohen_kappa_score

        numbers = {name: k for k, name in enumerate(self.about.classes)}
        weights = "quadratic" if self.about.target == "grade" else None
        told = [numbers[label] for label in labels]
        # Of grades that nobody has and nothing tells, the distance between the others would be lost.
        return float(cohen_kappa_score(truth, told, labels=range(len(numbers)), weights=weights))


def measure_parity(told: Told, truth: Told, images: ValidationImages) -> Parity:
    """Compare what a model file told with what PyTorch told."""
    same = sum(a == b for a, b in zip(told.labels, truth.labels, strict=True)) if truth.labels else None
    difference = float(np.abs(told.values - truth.values).max())
    return Parity(len(truth.values), difference, same, images.metrics(truth), images.metrics(told))


def training_images(dataset: FundusDataset, about: About, size: int, count: int) -> Iterator[np.ndarray]:
    """`count` standardised images of the run's training patients, spread evenly over them: uint8 (1, side, side, 3) each.

    Raises:
        UserError: there is none in the dataset.
    """
    chosen = dataset.subset(known_rows_of_split(dataset, about, "train"))
    for row in np.unique(np.linspace(0, len(chosen) - 1, count).astype(int)):
        yield standard_square(chosen.read(int(row)), size)[None]


def standard_square(image: np.ndarray, size: int) -> np.ndarray:
    """A dataset's image as a model file expects it: square, and of `size` to `STANDARD_SIZE` pixels."""
    return fit_square(image, min(max(*image.shape[:2], size), STANDARD_SIZE))
