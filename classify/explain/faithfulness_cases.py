"""On which photographs maps are checked: unseen patients whose class the classifier recognised, with the masks of what should be
found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...data.cache import fit_square, image_cache
from ...data.dataset import FundusDataset
from ...data.image_file import read_image
from ...data.targets import COLUMNS, MULTILABEL
from ...data.wider_targets import target_of
from ...preprocess.dataset_masks import ANATOMY, whole_field
from ...runtime.errors import UserError
from ..backbones import Classifier
from ..checkpoint import About
from ..decision import load_decision
from ..held_out import unseen
from ..images import ImageSource
from ..predictions import predict_images
from ..tasks import task_of
from .insertion_deletion import BLUR, baseline_images, shown_fields

_HEALTHY = ("normal", "0")


@dataclass(frozen=True)
class Cases:
    """Photographs on which maps are checked, each with the class that its map is about.

    Attributes:
        images, baselines: uint8 (n, s, s, 3), see `insertion_deletion.baseline_images`.
        fields: bool (n, s, s).
        targets: int (n,).
        patients: str (n,).
        masks: bool (n, s, s), what should be found; empty where there is none.
    """

    images: np.ndarray
    baselines: np.ndarray
    fields: np.ndarray
    targets: np.ndarray
    patients: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Cases:
        """The first `count` of them."""
        return Cases(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))


def make_cases(
    model: Classifier, dataset: FundusDataset, rows: np.ndarray, targets: np.ndarray, mask_kinds: Sequence[str],
    baseline: str = BLUR, quiet: bool = True,
) -> Cases:  # fmt: skip
    """Images of a dataset at the model's size, with fields, baselines and masks.

    Args:
        rows: int (n,). targets: int (n,). mask_kinds: the masks are united.

    Raises:
        UserError: an image or a mask that cannot be read.
    """
    part = dataset.subset(rows)
    images = ImageSource(image_cache(dataset, model.size, quiet=quiet), rows).take(np.arange(len(rows)))
    fields = shown_fields(images, whole_field(model.size) > 0)
    masks = np.zeros(fields.shape, bool)
    for i in range(len(part)):
        field = _read_mask(part, i, ("fov",), model.size)
        fields[i] = field if field.any() else fields[i]
        masks[i] = _read_mask(part, i, mask_kinds, model.size) & fields[i]
    return Cases(images, baseline_images(images, fields, baseline), fields, np.asarray(targets),
                 np.array(part.patient_keys, dtype=str), masks)  # fmt: skip


def mask_kinds(dataset: FundusDataset, wanted: Sequence[str]) -> tuple[str, ...]:
    there = dataset.mask_kinds
    for kind in wanted:
        if kind not in there:
            raise UserError(f"has no masks {kind!r}; it has {', '.join(there) or 'none'}", path=dataset.path)
    return tuple(wanted) or tuple(kind for kind in there if kind not in ANATOMY)


def _read_mask(dataset: FundusDataset, index: int, kinds: Sequence[str], size: int) -> np.ndarray:
    """The union of these masks, bool (size, size); empty when the image has none."""
    union = np.zeros((size, size), bool)
    for kind in kinds:
        path = dataset.mask_path(index, kind)
        if path is not None:
            inside = np.where(read_image(path).max(axis=2) >= 128, 255, 0).astype(np.uint8)
            union |= fit_square(inside, size) > 0
    return union


def recognized(
    run: Path | str, model: Classifier, about: About, dataset: FundusDataset, of_class: str, device: torch.device, quiet: bool
) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
    """Rows and classes of what can be checked, int (n,) each, and how many were not recognised."""
    present = _present(about, dataset, of_class) & unseen(dataset, about.patients)[:, None]
    rows = np.flatnonzero(present.any(axis=1))
    if not len(rows):
        what = of_class or "a class that its maps can be checked for"
        hint = "Name the class of images without labels with --class."
        raise UserError(f"has no unseen patient with {what}", path=dataset.path, hint=None if of_class else hint)
    source = ImageSource(image_cache(dataset, model.size, quiet=quiet), rows)
    told = predict_images(model, source, device=device, task=task_of(about.target))
    decided = load_decision(run, about).decide(told)
    if about.target != MULTILABEL:
        decided = np.eye(len(about.classes), dtype=bool)[decided]
    hits, targets = np.nonzero(present[rows] & decided)
    if not len(hits):
        raise UserError(
            f"the classifier recognises none of {len(rows)} unseen images of its classes; there is nothing to explain",
            path=dataset.path,
        )
    return rows[hits], targets, int(present.sum() - len(hits))


def _present(about: About, dataset: FundusDataset, of_class: str) -> np.ndarray:
    """Which classes each image is to be checked for: bool (n, k)."""
    names = list(about.classes)
    if of_class and of_class not in names:
        raise UserError(f"the classifier knows no class {of_class!r}", hint=f"Use {', '.join(names)}.")
    target = target_of(about.target, about.classes)
    labels = target.labels(dataset)
    known = target.known(dataset)
    present = labels == 1 if about.target == MULTILABEL else labels[:, None] == np.arange(len(names))
    present = present & known[:, None]
    if not of_class:
        return present & ~np.array([_is_healthy(about, k) for k in range(len(names))])
    chosen = np.arange(len(names)) == names.index(of_class)
    return (present if known.any() else np.ones_like(present)) & chosen


def _is_healthy(about: About, k: int) -> bool:
    negative = about.target not in (*COLUMNS, MULTILABEL) and k == 0  # of an expression
    return negative or about.classes[k] in _HEALTHY
