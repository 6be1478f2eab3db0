"""Grad-CAM (Selvaraju et al. 2017, ICCV): which part of a fundus photograph raised a class's score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...data.image_file import write_image
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ...runtime.report import Report
from ..checkpoint import load_classifier
from ..held_out import unseen
from ..images import ImageSource, as_source, to_batch
from ..predictions import predict_images
from ..targets import Target

_BATCH = 32
_TILE = 224
_OPACITY = 0.6
_GAP = 6


def grad_cam(
    model: nn.Module,
    images: np.ndarray | ImageSource,
    target_classes: np.ndarray | Sequence[int],
    *,
    layer: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Grad-CAM maps, computed by captum: channel maps weighted by the mean gradient of the class score, summed,
    negative values set to 0, enlarged bilinearly. They are not normalised: an image without evidence for the class
    has a map of zeros.

    Args:
        model: on `device`; it is put into evaluation mode.
        images: uint8 (n, h, w, 3).
        target_classes: int (n,), the class that each image's map is about.
        layer: where to look; `model.gradcam_layer()` by default.

    Returns:
        float32 (n, h, w), at least 0, in units of the class score (logit).
    """
    source, target_classes = as_source(images), np.asarray(target_classes)
    model.eval()
    method = LayerGradCam(model, model.gradcam_layer() if layer is None else layer)
    maps = [np.zeros((0, source.size, source.size), np.float32)]
    for start in range(0, len(source), _BATCH):
        part = np.arange(start, min(start + _BATCH, len(source)))
        goals = torch.from_numpy(target_classes[part]).to(device)
        coarse = method.attribute(to_batch(source.take(part), device), target=goals, relu_attributions=True)
        fine = LayerAttribution.interpolate(coarse, (source.size, source.size), "bilinear")
        maps.append(fine[:, 0].detach().float().cpu().numpy())
    return np.concatenate(maps)


def color_scale(maps: np.ndarray) -> float:
    """One scale for all maps of a sheet, their largest value, so that a weak map looks weak beside a strong one."""
    return float(maps.max()) if maps.size else 0.0


def overlay(image: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """The photograph with the map laid over it: black to yellow, the more opaque the stronger, so that 0 leaves it
    unchanged.

    Args:
        image: uint8 (h, w, 3).
        attribution: float (h, w), at least 0.
        scale: the value shown at full strength; 0 shows nothing.

    Returns:
        uint8 (h, w, 3).
    """
    strength = np.clip(attribution / scale, 0, 1) if scale > 0 else np.zeros_like(attribution)
    colors = matplotlib.colormaps["inferno"](strength)[..., :3] * 255
    opacity = _OPACITY * strength[..., None]
    return np.rint(image * (1 - opacity) + colors * opacity).astype(np.uint8)


def explain(
    run: Path | str,
    dataset: FundusDataset | Path | str,
    *,
    per_group: int = 4,
    out: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """A page of Grad-CAM overlays of patients the classifier has not seen: for each class its best, worst and most
    uncertain cases.

    Best and worst have the highest and lowest probability of the true class; uncertain ones the highest entropy. Each
    class is one sheet with one colour scale, also written as a PNG.

    Args:
        per_group: how many images of each kind.
        out: the folder; RUN/explain-<dataset> by default.

    Returns:
        Path of report.html.

    Raises:
        UserError: no classifier, a backbone without maps, or no unseen image of its classes.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    layer = model.gradcam_layer()
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
        chosen = select_cases(labels[rows], probabilities, k, per_group)
        if not chosen:
            report.section(name).text("There is no image of this class.")
            continue
        _add_sheet(report, folder, name, k, chosen, source, probabilities, model, layer, where)
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


def _add_sheet(report, folder, name, number, chosen, source, probabilities, model, layer, device) -> None:
    indices = np.concatenate(list(chosen.values()))
    pictures = source.take(indices)
    maps = grad_cam(model, pictures, np.full(len(indices), number), layer=layer, device=device)
    scale = color_scale(maps)
    tiles = [_tile(picture, attribution, scale) for picture, attribution in zip(pictures, maps, strict=True)]
    kinds = [kind for kind, members in chosen.items() for _ in members]
    captions = [f"{kind}: p = {probabilities[i, number]:.2f}" for kind, i in zip(kinds, indices, strict=True)]
    note = (
        f"Full strength is {scale:.3g}, the same for the whole sheet."
        if scale > 0
        else "Every map of this sheet is zero."
    )
    report.section(name).text(f"Evidence for {name} in images that are {name}. {note}")
    report.images(tiles, captions, columns=4, width=2 * _TILE)
    write_image(folder / f"{name}.png", _grid(tiles, columns=4))


def _tile(picture: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """The photograph and, right of it, the same with its map."""
    large = cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    enlarged = cv2.resize(attribution, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
    return np.hstack([large, overlay(large, enlarged, scale)])


def _grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, min(columns, len(tiles)) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = (index // columns) * (height + _GAP), (index % columns) * (width + _GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet
