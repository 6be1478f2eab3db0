"""Two pages for the person who ran the pipeline: what was rejected or is uncertain, and both sides of the quality limit.

They lie beside the dataset folder, not in it, so that the folder holds only what its table names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from ..data.dataset import FundusDataset
from ..data.image_file import read_photograph
from ..runtime.errors import UserError, counts
from ..runtime.report import Report
from .camera_file import rejected_quality
from .field_of_view import HOPELESS, UNSURE, FieldOfView, find_field_of_view
from .quality import quality_report
from .standardize import standardize

_TILE, _SHOWN, _COLUMNS = 240, 120, 6
_FOUND = (0, 220, 90)
_EMPTY = np.full((_TILE, _TILE, 3), 90, np.uint8)


def write_review(
    dataset: FundusDataset, rejected: list[tuple[str, str]], files: Mapping[str, Path], min_quality: float
) -> list[Path]:
    """Write the pages there is something for, and return their paths: OUT-rejected.html and OUT-quality.html.

    Args:
        dataset: what was made. rejected: (camera file, reason). files: where each camera file lies.
    """
    pages = []
    low = [(name, score) for name, reason in rejected if (score := rejected_quality(reason)) is not None]
    failed = [(name, reason) for name, reason in rejected if rejected_quality(reason) is None]
    unsure = dataset.table[dataset.table["fov_confidence"] < UNSURE]
    others = dataset.table[~dataset.column("picture_kind").isin(("", "fundus"))]
    if failed or len(unsure) or len(others):
        reasons = zip(unsure["camera_file"], dataset.column("fov_reason")[unsure.index], strict=True)
        kinds = zip(
            others["camera_file"], dataset.column("picture_kind")[others.index].str.replace("_", " "), strict=True
        )
        pages.append(_failures_page(dataset, failed, list(reasons), list(kinds), files))
    if min_quality > 0:
        best = sorted(low, key=lambda item: -item[1])[:30]
        shown = [(_standardized(files[name]), Path(name).name, score) for name, score in best]
        pages.append(quality_report(dataset, shown, _beside(dataset, "quality"), total=len(low)))
    return pages


def _beside(dataset: FundusDataset, what: str) -> Path:
    return dataset.path.with_name(f"{dataset.path.name}-{what}.html")


def _failures_page(
    dataset: FundusDataset, failed: list[tuple[str, str]], unsure: list[tuple[str, str]], kinds: list[tuple[str, str]],
    files: Mapping[str, Path],
) -> Path:  # fmt: skip
    lead = (f"{len(failed)} camera files were rejected; {len(unsure)} images have an uncertain field of view; {len(kinds)} are "
            "perhaps no colour fundus photographs.")  # fmt: skip
    report = Report(f"Rejected and uncertain: {dataset.name}", lead)
    _grid(report.section("Rejected"), failed, files)
    _grid(report.section("Uncertain field of view"), unsure, files)
    _grid(report.section("Perhaps no colour fundus photographs"), kinds, files)
    return report.write(_beside(dataset, "rejected"))


def _grid(report: Report, items: list[tuple[str, str]], files: Mapping[str, Path]) -> None:
    if not items:
        report.text("None.")
        return
    reasons: dict[str, int] = {}
    for _, reason in items:
        reasons[reason.split(":")[0]] = reasons.get(reason.split(":")[0], 0) + 1
    few = dict(sorted(reasons.items(), key=lambda item: -item[1])[:8])
    more = f" The first {_SHOWN} are shown." if len(items) > _SHOWN else ""
    report.text(f"{counts(few)}.{more} In green the circle that was found.")
    images = [failure_tile(files.get(name)) for name, _ in items[:_SHOWN]]
    captions = [f"{Path(name).name}: {reason}" for name, reason in items[:_SHOWN]]
    report.images(images, captions, columns=_COLUMNS, photographs=True)


def failure_tile(path: Path | None) -> np.ndarray:
    """A camera file, small, with the circle found in it; dark ones are lightened so that something is seen.

    Returns:
        uint8 (240, 240, 3); grey when the file cannot be read.
    """
    try:
        image = read_photograph(path, at_least=512).pixels if path else None
        fov = find_field_of_view(image) if image is not None else None
    except (UserError, cv2.error, MemoryError):
        return _EMPTY
    return _EMPTY if image is None else _overlay(image, fov)


def _overlay(image: np.ndarray, fov: FieldOfView) -> np.ndarray:
    tile = _EMPTY.copy()
    scale = _TILE / max(image.shape[:2])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    gain = min(max(1.0, 100 / max(float(np.percentile(small, 90)), 1.0)), 12.0)
    small = cv2.convertScaleAbs(small, alpha=gain)
    if fov.confidence >= HOPELESS / 2:
        # Four bits of fraction; pixel i of the picture is centred on i + 0.5.
        centre = [round(16 * (scale * value - 0.5)) for value in (fov.x, fov.y)]
        cv2.circle(small, centre, max(1, round(16 * scale * fov.radius)), _FOUND, 1, cv2.LINE_AA, 4)
    top, left = (_TILE - height) // 2, (_TILE - width) // 2
    tile[top : top + height, left : left + width] = small
    return tile


def _standardized(path: Path) -> np.ndarray:
    return standardize(read_photograph(path, at_least=_TILE).pixels, _TILE).image


def files_of(rows: Iterable[Mapping]) -> dict[str, Path]:
    """{camera file: where it lies} of a collection's rows."""
    return {row["camera_file"]: row["path"] for row in rows}
