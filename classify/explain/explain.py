"""`fundus-classify explain`: a page of attribution maps, a section for each class, and each section's sheets and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...data.image_file import write_image
from ...data.wider_targets import target_of
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ...runtime.gallery import Picture, View
from ...runtime.report import Report
from ..backbones import Classifier
from ..checkpoint import load_classifier
from ..decision import load_decision
from ..held_out import unseen
from ..images import ImageSource
from ..predictions import predict_images
from ..tasks import task_of
from .camera_overlay import camera_files, camera_map, read_camera
from .class_activation import CLASS_ACTIVATION, GRAD_CAM
from .faithfulness import Verdict, read_faithfulness
from .layers import layer_name
from .methods import PIXEL_METHODS, attribute, check_method, check_network, is_signed, merge_channels
from .overlay import color_key, color_scale, lay_over
from .pixels import GUIDED, OCCLUSION
from .scores import Scores, scores_of
from .sheets import channel_row, draw, grid, plain, save_maps
from .topics import Topic, topics

_LAYERED = (*CLASS_ACTIVATION, GUIDED)
_TILE = 224
_EMBEDDED = 384
_COLUMNS = 4
_STRIP = 500


@dataclass(frozen=True)
class _Eyes:
    """What is explained, and how.

    Attributes:
        rows: where in the dataset the images are that a topic's cases number.
        cameras: folder of the camera files, or None.
    """

    model: Classifier
    scores: Scores
    dataset: FundusDataset
    source: ImageSource
    rows: np.ndarray
    methods: tuple[str, ...]
    layer: str | None
    channels: bool
    checked: dict[str, Verdict]
    cameras: Path | None
    folder: Path
    seed: int
    device: object
    quiet: bool


def explain(
    run: Path | str, dataset: FundusDataset | Path | str, *, methods: Sequence[str] = (GRAD_CAM,), layer: str | None = None,
    target: Sequence[str] = (), channels: bool = False, camera_folder: Path | str | None = None, count: int = 4,
    out: Path | str | None = None, seed: int = 0, device: str = "auto", quiet: bool = False,
) -> Path:  # fmt: skip
    """A page of attribution maps of unseen patients: the best, worst and most uncertain cases of each class.

    Best and worst have the highest and lowest probability of the true class, uncertain ones the highest entropy; see `topics`
    for labels, grades and haemoglobin. Each class and method is one sheet with one colour scale, written as a PNG too, and its
    maps as numbers (.npz), not normalised.

    Args:
        methods: names of `methods.METHODS`.
        layer: name of the layer that maps of a layer are made of; see `layers.default_layer`.
        target: only these classes or labels; of haemoglobin or a grade's number "lower" or "higher".
        channels: the maps of R, G and B apart, too, of the pixel methods.
        camera_folder: where the camera files lie that the dataset was made from; then the maps are laid over them, too.
        count: how many images of each kind.
        out: the folder; RUN/explain-<dataset> by default.
        seed: of what is random in a method.

    Returns:
        Path of report.html.

    Raises:
        UserError: no classifier, no unseen image of its classes, a method, layer or target that is not there or that this
            network does not allow, or camera files that are not found.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    chosen = _chosen(model, methods, layer, channels)
    scores = scores_of(model, about)
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    aim = target_of(about.target, about.classes)
    labels = aim.labels(dataset)
    rows = np.flatnonzero(aim.known(dataset) & unseen(dataset, about.patients))
    if not len(rows):
        raise UserError(f"has no unseen patient with {' or '.join(about.classes)}", path=dataset.path)
    source = ImageSource(image_cache(dataset, model.size, quiet=quiet), rows)
    told = load_decision(run, about).calibrated(predict_images(model, source, device=where, task=task_of(about.target)))
    folder = Path(out) if out is not None else Path(run) / f"explain-{dataset.name}"
    eyes = _Eyes(model, scores, dataset, source, rows, chosen, layer, channels, _checked(run, model, layer),
                 Path(camera_folder) if camera_folder is not None else None, folder, seed, where, quiet)  # fmt: skip
    chapters = topics(about, scores, labels[rows], told, count, target)
    return _page(eyes, chapters, count).write(folder / "report.html")


def _chosen(model: Classifier, methods: Sequence[str], layer: str | None, channels: bool) -> tuple[str, ...]:
    """The methods, refused before any image is read if the network does not allow one."""
    chosen = tuple(dict.fromkeys(methods)) or (GRAD_CAM,)
    for method in chosen:
        check_method(method)
        check_network(model, method, layer)
    if channels and not set(chosen) & set(PIXEL_METHODS):
        check_method(chosen[0], channels=True)
    if layer is not None and set(chosen) <= set(PIXEL_METHODS) - {GUIDED}:
        raise UserError(f"--layer is for {', '.join(CLASS_ACTIVATION)} and {GUIDED}", hint="Leave it out.")
    return chosen


def _checked(run: Path | str, model: Classifier, layer: str | None) -> dict[str, Verdict]:
    """The verdicts on maps like these: the check looks at the default layer, and says nothing of another."""
    found = read_faithfulness(run)
    if not _elsewhere(model, layer):
        return found
    return {method: one for method, one in found.items() if method not in _LAYERED}


def _elsewhere(model: Classifier, layer: str | None) -> bool:
    return layer is not None and layer_name(model, layer) != layer_name(model)


def _page(eyes: _Eyes, chapters: Sequence[Topic], count: int) -> Report:
    cameras = {}
    if eyes.cameras is not None:
        members = np.concatenate([topic.members for topic in chapters])
        cameras = camera_files(eyes.dataset, eyes.cameras, np.unique(eyes.rows[members]))
    report = Report(
        f"Where {eyes.model.name} looks",
        f"Maps by {', '.join(eyes.methods)}, of the most telling of {len(eyes.rows)} images of patients it has not seen.",
    )
    report.section("May these maps be believed?").points([_belief(eyes, method) for method in eyes.methods])
    tables = []
    for topic in chapters:
        report.section(topic.name)
        if len(topic.members):
            tables += _section(report, eyes, topic, cameras, count)
        else:
            report.text("There is no image of this class.")
    if tables:
        report.section("Which colour carries the evidence").text(
            "Share of the magnitude of a map that lies in each channel: mean over the images shown, and range. The mean "
            "signed sums say whether a channel speaks for the score (above 0) or against it; of a gradient, whether a brighter "
            "channel would."
        )  # fmt: skip
        report.table(pd.DataFrame(tables))
    report.section("How to read this").points(_NOTES)
    layered = [method for method in eyes.methods if method in _LAYERED]
    looked = {f"layer of {', '.join(layered)}": layer_name(eyes.model, eyes.layer)} if layered else {}
    report.facts({"dataset": eyes.dataset.name, "backbone": f"{eyes.model.name}, {eyes.model.size} px", **looked})
    return report


def _belief(eyes: _Eyes, method: str) -> str:
    checked = eyes.checked.get(method)
    if checked is None and method in _LAYERED and _elsewhere(eyes.model, eyes.layer):
        return f"{method}: not checked at this layer; fundus-classify check-explanations looks at {layer_name(eyes.model)}."
    if checked is None:
        return f"{method}: not checked on this classifier; fundus-classify check-explanations does it."
    return f"{method}: {'passed' if checked.passes else 'FAILED'}. {checked.why}"


def _shown_name(eyes: _Eyes, method: str) -> str:
    """The method, marked where its maps are not to be believed."""
    checked = eyes.checked.get(method)
    return method if checked is None or checked.passes else f"{method} (FAILED its check)"


_NOTES = (
    "A map shows what the network used, not what is ill. Maps are not normalised: all of a sheet share one scale, so that a map "
    "without evidence looks empty.",
    "Press o to take all overlays away and lay them back, 1 to 9 for a view. Click or tap a picture to enlarge it; there, arrow "
    "keys or swipes go to the next one.",
    "Maps of single pixels are coloured up to the 99.5th percentile of what is not 0, as few pixels reach far beyond.",
    "The .npz files beside this page hold the maps as numbers.",
)  # fmt: skip


def _section(report: Report, eyes: _Eyes, topic: Topic, cameras: dict[int, Path], count: int) -> list[dict]:
    """The galleries of one topic; returns its rows of the table of channels."""
    members, columns = topic.members, min(count, _COLUMNS)
    photographs = [eyes.dataset.read(eyes.rows[i]) for i in members]
    views = [View("photograph")]
    looks = [[plain(one, _EMBEDDED)] for one in photographs]
    strips = {}
    for method in eyes.methods:
        maps = _maps(eyes, topic, method)
        if maps.ndim == 4:
            strips[method], maps = maps, _merged(eyes, topic, method, maps)
        signed, scale = is_signed(method), color_scale(maps, outliers=method in PIXEL_METHODS)
        views.append(_view(_shown_name(eyes, method), signed, scale, eyes.scores.unit))
        for look, photograph, one in zip(looks, photographs, maps, strict=True):
            look.append(draw(photograph, one, scale, signed, _EMBEDDED))
        _write_sheet(eyes, topic, method, photographs, maps, scale, columns)
        _write_cameras(eyes, topic, method, maps, scale, cameras)
    report.text(_scale_note(topic, views))
    links = [_link(eyes, topic, position, cameras) for position in range(len(members))]
    pictures = [Picture(*parts) for parts in zip(looks, topic.captions, links, strict=True)]
    report.gallery(views, pictures, columns)
    return [_channel_strips(report, eyes, topic, method, photographs, maps) for method, maps in strips.items()]


def _maps(eyes: _Eyes, topic: Topic, method: str, apart: bool = True) -> np.ndarray:
    """Float32 (m, s, s), or (m, s, s, 3) where channels are wanted and the method has them."""
    members, channels = topic.members, apart and eyes.channels and method in PIXEL_METHODS
    return attribute(eyes.model, eyes.source.take(members), np.full(len(members), topic.target), method, layer=eyes.layer,
                     channels=channels, scores=eyes.scores, seed=eyes.seed, device=eyes.device, quiet=eyes.quiet)  # fmt: skip


def _merged(eyes: _Eyes, topic: Topic, method: str, apart: np.ndarray) -> np.ndarray:
    """The map of all channels: float32 (m, s, s). To cover one channel is not a part of covering all."""
    return _maps(eyes, topic, method, apart=False) if method == OCCLUSION else merge_channels(apart, method)


def _channel_strips(
    report: Report, eyes: _Eyes, topic: Topic, method: str, photographs: Sequence[np.ndarray], maps: np.ndarray
) -> dict[str, object]:
    """A gallery of R, G and B side by side, its sheet and numbers; returns the row of the table."""
    scale, name = color_scale(maps, outliers=True), f"{_shown_name(eyes, method)} by channel"
    views = [View("photograph"), _view(name, True, scale, eyes.scores.unit)]
    looks = [(plain(one, _TILE, channels=True), draw(one, map_, scale, True, _TILE)) for one, map_ in
             zip(photographs, maps, strict=True)]  # fmt: skip
    report.text(f"{method}, red, green and blue from left to right, one scale for all.")
    report.gallery(views, [Picture(*parts) for parts in zip(looks, topic.captions, strict=True)], 2, width=_STRIP)
    write_image(_file(eyes, topic, f"{method}-channels.png"), grid([strip for _, strip in looks], 2))
    _save(eyes, topic, f"{method}-channels", maps)
    return {"about": topic.name, "method": method, **channel_row(maps)}


def _view(name: str, signed: bool, scale: float, unit: str) -> View:
    if scale == 0:
        return View(f"{name} (zero everywhere)")
    return View(name, color_key(signed), f"{-scale:.2g}" if signed else "0", f"{scale:.2g} {unit}")


def _scale_note(topic: Topic, views: Sequence[View]) -> str:
    zero = [view.name for view in views[1:] if view.key is None]
    shown = "Full strength is the same for the whole sheet: "
    ends = ", ".join(f"{view.high} of {view.name}" for view in views[1:] if view.key is not None)
    return (
        f"{topic.evidence}. "
        + (f"{shown}{ends}." if ends else "")
        + (" Every map is zero." if zero and not ends else "")
    )


def _write_sheet(
    eyes: _Eyes,
    topic: Topic,
    method: str,
    photographs: Sequence[np.ndarray],
    maps: np.ndarray,
    scale: float,
    columns: int,
) -> None:
    signed = is_signed(method)
    tiles = [np.hstack([plain(photograph, _TILE), draw(photograph, one, scale, signed, _TILE)])
             for photograph, one in zip(photographs, maps, strict=True)]  # fmt: skip
    write_image(_file(eyes, topic, f"{method}.png"), grid(tiles, columns))
    _save(eyes, topic, method, maps)


def _save(eyes: _Eyes, topic: Topic, name: str, maps: np.ndarray) -> None:
    files = [eyes.dataset.table["file_name"][eyes.rows[i]] for i in topic.members]
    save_maps(_file(eyes, topic, f"{name}.npz"), maps, files, topic.captions, topic.evidence, eyes.scores.unit)


def _write_cameras(
    eyes: _Eyes, topic: Topic, method: str, maps: np.ndarray, scale: float, cameras: dict[int, Path]
) -> None:
    for number, (index, one) in enumerate(zip(eyes.rows[topic.members], maps, strict=True), start=1):
        if index in cameras:
            row = eyes.dataset.table.iloc[index]
            frame = read_camera(cameras[index], row)
            laid = lay_over(frame, camera_map(one, row, *frame.shape[:2]), scale, is_signed(method))
            write_image(_camera_path(eyes, topic, number, method), laid)


def _link(eyes: _Eyes, topic: Topic, position: int, cameras: dict[int, Path]) -> tuple[str, str] | tuple[()]:
    if eyes.rows[topic.members[position]] not in cameras:
        return ()
    path = _camera_path(eyes, topic, position + 1, eyes.methods[0])
    return path.relative_to(eyes.folder).as_posix(), "on the camera file"


def _camera_path(eyes: _Eyes, topic: Topic, number: int, method: str) -> Path:
    return eyes.folder / "camera" / f"{_safe(topic.name)}-{number:02}-{method}.jpg"


def _file(eyes: _Eyes, topic: Topic, ending: str) -> Path:
    return eyes.folder / f"{_safe(topic.name)}-{ending}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
