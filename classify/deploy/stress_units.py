"""One unit of a stress test: what a classifier says of all test pictures with one damage at one severity."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import torch

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...preprocess.dataset_masks import whole_field
from ...preprocess.picture_kind import picture_kind
from ...preprocess.quality import measure_quality
from ..backbones import Classifier
from ..decision import Decision
from ..predictions import prediction_table
from ..tasks import ONE_CLASS
from .answer import Rules, give_answer
from .attacks import ATTACKS, EPSILONS
from .damages import damage
from .features import told_and_features

BATCH = 32
NONE = "none"


@dataclass(frozen=True)
class Subject:
    """What is tested, and on what.

    Attributes:
        dataset: the test pictures; labels: int (n,), their classes.
        pictures: uint8 (n, side, side, 3), standardised.
        model, decision, rules: see `checkpoint`, `decision` and `answer`.
        device: of the model.
        seed: of chance; picture i has the seed `seed` + i.
    """

    dataset: FundusDataset
    labels: np.ndarray
    pictures: np.ndarray
    model: Classifier
    decision: Decision
    rules: Rules
    device: torch.device | str
    seed: int

    def __len__(self) -> int:
        return len(self.labels)


def unit_table(subject: Subject, kind: str, severity: int, advance=lambda n: None) -> pd.DataFrame:
    """One row an image: see `predictions.prediction_table`, and quality, retina, unfamiliarity, action, said, set.

    Args:
        kind: of `DAMAGES` or `ATTACKS`, or `NONE` with severity 0.
        advance: called with how many images are done.
    """
    parts = []
    for start in range(0, len(subject), BATCH):
        rows = np.arange(start, min(start + BATCH, len(subject)))
        parts.append(_told(subject, *_spoilt(subject, rows, kind, severity)))
        advance(len(rows))
    probabilities, answers = np.concatenate([p for p, _ in parts]), pd.concat([a for _, a in parts], ignore_index=True)
    classes = subject.decision.classes
    table = prediction_table(subject.dataset, subject.labels, probabilities, classes, subject.decision)
    return pd.concat([table.reset_index(drop=True), answers], axis=1)


def _spoilt(subject: Subject, rows: np.ndarray, kind: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures as they are judged, uint8 (n, side, side, 3), and as the model sees them, at its size."""
    circle = whole_field(subject.pictures.shape[1])
    pictures = np.stack([cv2.copyTo(subject.pictures[row], circle) for row in rows])
    if kind in ATTACKS:
        return _attacked(subject, rows, pictures, kind, severity)
    if kind != NONE:
        seeds = subject.seed + rows
        pictures = np.stack([damage(p, kind, severity, int(s)) for p, s in zip(pictures, seeds, strict=True)])
    return pictures, _shrunk(pictures, subject.model.size)


def _shrunk(pictures: np.ndarray, size: int) -> np.ndarray:
    return np.stack([fit_square(picture, size) for picture in pictures])


def _attacked(
    subject: Subject, rows: np.ndarray, pictures: np.ndarray, kind: str, severity: int
) -> tuple[np.ndarray, np.ndarray]:
    """The attack is on what the model sees; what is judged is the standardised picture moved by the same."""
    seen = _shrunk(pictures, subject.model.size)
    how = {"task": ONE_CLASS, "device": subject.device} | (
        {"seed": subject.seed + int(rows[0])} if kind == "pgd" else {}
    )
    attacked = ATTACKS[kind][0](subject.model, seen, subject.labels[rows], EPSILONS[severity - 1], **how)
    moved = attacked.astype(np.int16) - seen
    side = pictures.shape[1]
    large = [cv2.resize(one, (side, side), interpolation=cv2.INTER_NEAREST) for one in moved]
    return (pictures + np.stack(large)).clip(0, 255).astype(np.uint8), attacked


def _told(subject: Subject, pictures: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """The network's own probabilities, and what is answered."""
    probabilities, features = told_and_features(subject.model, seen, device=subject.device)
    calibrated = subject.decision.calibrated(probabilities)
    rows = []
    for picture, told, place in zip(pictures, calibrated, features, strict=True):
        quality, retina = measure_quality(picture), picture_kind(picture).retina
        answer = give_answer(subject.rules, told, place, quality.score, quality.reason, retina)
        rows.append({"quality": quality.score, "retina": retina, "unfamiliarity": answer.unfamiliarity,
                     "action": answer.action, "said": answer.label, "set": "; ".join(answer.set)})  # fmt: skip
    return probabilities, pd.DataFrame(rows)
