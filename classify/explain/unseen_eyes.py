"""The eyes that an explanation may speak of: of patients that the classifier has not seen, with their landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...data.targets import Target
from ...preprocess.landmark_columns import with_landmarks
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ..backbones import Classifier
from ..checkpoint import About, load_classifier
from ..held_out import unseen
from ..images import ImageSource
from ..predictions import predict_images
from ..tasks import ONE_CLASS, task_of
from .scores import DIRECTIONS, HIGHER, Scores, scores_of


@dataclass(frozen=True)
class UnseenEyes:
    """A classifier and what it may be judged on.

    Attributes:
        dataset: the images of unseen patients with one of its classes, with the columns of `with_landmarks`.
        cache, rows: the pictures at the classifier's size, and where in the cache the images are.
        labels: int (n,), their true classes.
        probabilities: float64 (n, k), what the classifier tells.
        patients: str (n,), whom each image shows.
        left_out: images of seen patients.
    """

    model: Classifier
    about: About
    device: torch.device
    dataset: FundusDataset
    cache: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray
    left_out: int

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: np.ndarray) -> ImageSource:
        """Those images at the classifier's size."""
        return ImageSource(self.cache, self.rows[indices])


def open_unseen(run: Path | str, dataset: FundusDataset | Path | str, device: str, quiet: bool) -> UnseenEyes:
    """Load a classifier, leave out whom it was trained or selected on, find landmarks that the data do not give, predict.

    Raises:
        UserError: no classifier, one that does not tell one class of several, no unseen image of its classes, or images that
            are not square.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    if task_of(about.target) is not ONE_CLASS:
        raise UserError(f"was trained on target {about.target}; expected one that tells one class of several",
                        path=run, hint="Train one with --target label, grade or an expression.")  # fmt: skip
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    labels = Target(about.target, about.classes).labels(dataset)
    strangers = unseen(dataset, about.patients)
    rows = np.flatnonzero((labels >= 0) & strangers)
    if not len(rows):
        raise UserError(f"has no unseen patient with {' or '.join(about.classes)}", path=dataset.path)
    found = with_landmarks(dataset.subset(rows), quiet)
    cache = image_cache(dataset, model.size, quiet=quiet)
    told = predict_images(model, ImageSource(cache, rows), device=where)
    left_out = int(((labels >= 0) & ~strangers).sum())
    patients = np.array(found.patient_keys, dtype=str)
    return UnseenEyes(model, about, where, found, cache, rows, labels[rows], told, patients, left_out)


def map_targets(eyes: UnseenEyes, of: str) -> tuple[np.ndarray, Scores, str]:
    """What each image's map is about: the numbers of the scores, int (n,), the scores themselves, and in words.

    The heads for grades have no score of a class, only what makes the grade higher or lower: of these, "" takes "higher".

    Raises:
        UserError: neither "", "true", "predicted" nor a class; of a head for grades neither "", "lower" nor "higher".
    """
    scores = scores_of(eyes.model, eyes.about)
    if scores.directed:
        of = of or HIGHER
        if of not in DIRECTIONS:
            raise UserError(f"--of {of} is not known for head {eyes.model.head}; expected {' or '.join(DIRECTIONS)}")
        return np.full(len(eyes), scores.names.index(of)), scores, f"a {of} grade"
    classes = eyes.about.classes
    of = of or (classes[1] if len(classes) == 2 else "true")
    if of == "true":
        return eyes.labels, scores, "each image's true class"
    if of == "predicted":
        return eyes.probabilities.argmax(1), scores, "the class that it finds most probable"
    if of not in classes:
        raise UserError(f"--of {of} is not known; expected true, predicted, or one of {', '.join(classes)}")
    return np.full(len(eyes), classes.index(of)), scores, of


def images_told(images: int, without_landmarks: int, seen: int) -> str:
    """What a report says of the images that it is about."""
    seen_told = f"{seen} of patients that the classifier was trained or selected on"
    return f"{images}; left out: {without_landmarks} without optic disc or fovea, {seen_told}"
