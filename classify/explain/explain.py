"""`fundus-classify explain`: sheets of Grad-CAM overlays, one a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...data.cache import fit_square, image_cache
from ...data.dataset import FundusDataset
from ...data.image_file import write_image
from ...data.targets import Target
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ...runtime.report import Report
from ..checkpoint import load_classifier
from ..held_out import unseen
from ..images import ImageSource
from ..predictions import predict_images
from .attribution import color_scale, grad_cam, overlay

_TILE = 224
_GAP = 6


def explain(
    run: Path | str,
    dataset: FundusDataset | Path | str,
    *,
    count: int = 4,
    out: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """A page of Grad-CAM overlays of unseen patients: the best, worst and most uncertain cases of each class.

    Best and worst have the highest and lowest probability of the true class, uncertain ones the highest entropy. Each
    class is one sheet with one colour scale, also written as a PNG.

    Args:
        count: how many images of each kind.
        out: the folder; RUN/explain-<dataset> by default.

    Returns:
        Path of report.html.

    Raises:
        UserError: no classifier, a backbone without maps, or no unseen image of its classes.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    model.gradcam_layer()  # refuses a backbone without maps before any image is read
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    labels = Target(about.target, about.classes).labels(dataset)
    rows = np.flatnonzero((labels >= 0) & unseen(dataset, about.patients))
    if not len(rows):
        raise UserError(f"has no unseen patient with {' or '.join(about.classes)}", path=dataset.path)
    source = ImageSource(image_cache(dataset, model.size, quiet=quiet), rows)
    probabilities = predict_images(model, source, device=where)
    folder = Path(out) if out is not None else Path(run) / f"explain-{dataset.name}"
    report = Report(f"Where {model.name} looks", f"Grad-CAM on {len(rows)} images of patients it has not seen.")
    for k, name in enumerate(about.classes):
        report.section(name)
        cases = select_cases(labels[rows], probabilities, k, count)
        if not cases:
            report.text("There is no image of this class.")
            continue
        members = np.concatenate(list(cases.values()))
        maps = grad_cam(model, source.take(members), np.full(len(members), k), device=where)
        scale = color_scale(maps)
        tiles = [_tile(dataset.read(rows[i]), map_, scale) for i, map_ in zip(members, maps, strict=True)]
        captions = [f"{kind}: p = {probabilities[i, k]:.2f}" for kind, group in cases.items() for i in group]
        report.text(_scale_note(name, scale)).images(tiles, captions, min(count, 4), width=2 * _TILE)
        write_image(folder / f"{name}.png", _grid(tiles, min(count, 4)))
    return report.write(folder / "report.html")


def select_cases(labels: np.ndarray, probabilities: np.ndarray, of_class: int, count: int) -> dict[str, np.ndarray]:
    """{"best" | "worst" | "uncertain": indices of images of one class, at most `count`}; empty when the class has none.

    An image is in one group only, best first.
    """
    members = np.flatnonzero(labels == of_class)
    if not len(members):
        return {}
    certainty = probabilities[members, of_class]
    entropy = -(probabilities[members] * np.log(np.maximum(probabilities[members], 1e-12))).sum(axis=1)
    chosen: dict[str, np.ndarray] = {}
    taken: set[int] = set()
    for group, order in (("best", -certainty), ("worst", certainty), ("uncertain", -entropy)):
        ranked = [index for index in members[np.argsort(order, kind="stable")] if index not in taken]
        chosen[group] = np.array(ranked[:count], dtype=int)
        taken.update(ranked[:count])
    return chosen


def _scale_note(name: str, scale: float) -> str:
    shown = f"Full strength is {scale:.3g}, the same for the whole sheet." if scale > 0 else "Every map is zero."
    return f"Evidence for {name} in images that are {name}. {shown}"


def _tile(photograph: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """The photograph and, right of it, the same with its map."""
    photograph = fit_square(photograph, _TILE)
    enlarged = cv2.resize(attribution, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
    return np.hstack([photograph, overlay(photograph, enlarged, scale)])


def _grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, min(columns, len(tiles)) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = (index // columns) * (height + _GAP), (index % columns) * (width + _GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet
