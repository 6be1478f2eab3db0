"""Gradability of a standardised image, whatever its size in pixels.

Everything is measured on a copy whose field of view has a radius of 112 pixels, made by averaging over areas, so that the
same picture has the same score at 224, 512 or 2000 pixels. A smaller picture is enlarged: the detail that it lacks counts
against it. With D the logarithm of the green channel (vessels and haze are multiplications of light, so sums in D) and
D_s its Gaussian average over s pixels of that copy:

    sharpness  ln of rms(D_1 - D_2) over rms(D_2 - D_4): what of the vessels' scale is left of the next coarser one
    detail     the mean over a 14 x 14 grid of p / (p + 0.006^2), p the mean square of D_1 - D_2 in a cell
    structure  the same for D_1 - D_4 and 0.012
    contrast   ln of rms(D_1 - D_8)
    haze       ln of the mean over the field of the darkest channel over that of the brightest one
    dark       share of the field whose brightest channel is below 50 of 255
    light      ln of the mean of the brightest channel
    bright     share of the field whose green is above 215
    visible    share of the circle that was recorded and is neither black nor burnt out

The score is `visible` times the logistic function of a weighted sum of the others. The weights were fitted with the
judgements of EyeQ (Fu et al. 2019, MICCAI, LNCS 11764:48: good, usable, reject) and with planted blur, darkness, haze and
overexposure on real and simulated eyes, on half of the patients: `python benchmarks/preprocess_quality.py --fit`.
The fit keeps every weight on the side that its name says (more haze never helps), so that each part can be read.

Sensor noise is not judged: at this size it looks like detail, and a noisy picture may score higher than a clean one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..data.dataset import FundusDataset
from ..runtime.errors import UserError
from ..runtime.report import Report

SIDE = 224
"""Diameter of the field, in pixels, at which everything is measured."""

_FLARE = 8.0  # grey levels added before the logarithm, so that the noise of black is not detail
_DARK, _BRIGHT, _BLACK, _BURNT = 50, 215, 16, 250
_CELLS, _DETAIL, _STRUCTURE = 14, 0.006, 0.012
_SMALLEST = 32
_CIRCLE_AREA = int(cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), SIDE // 2 - 2, 1, -1).sum())

# What speaks for (1) and against (-1) a picture.
SIGNS = {
    "sharpness": 1, "detail": 1, "structure": 1, "contrast": 1, "haze": -1, "dark": -1, "light": 1, "bright": -1,
}  # fmt: skip
# name: (mean of gradable pictures, standard deviation of all, weight); from benchmarks/preprocess_quality.py --fit
MODEL: dict[str, tuple[float, float, float]] = {
    "sharpness": (-0.1899, 0.4705, 0.9667),
    "detail": (0.7480, 0.3281, 1.8334),
    "structure": (0.7312, 0.2831, 0.8020),
    "contrast": (-2.8041, 1.2845, 0.4359),
    "haze": (-1.1148, 0.5640, -0.1037),
    "dark": (0.0283, 0.3707, -2.6830),
    "light": (4.9804, 0.7869, 0.9694),
    "bright": (0.0072, 0.3356, -2.8893),
}
BIAS = 1.8380
_UNSEEN = "much of the field is not visible"


@dataclass(frozen=True)
class Quality:
    """How gradable a picture is.

    Attributes:
        score: 0 (useless) .. 1 (good); the same (+-0.05) for the same picture at any size of 224 pixels and more.
        sharpness: 0..1, share of the detail of vessels against the next coarser scale.
        exposure: 0..1, share of the field that is neither dark nor overexposed.
        contrast: root mean square of the structure, in natural logarithms of light; about 0.1 in a good picture.
        haze: 0..1, darkest over brightest channel; a white veil raises it.
        visible_fraction: 0..1, share of the circle that was recorded and is neither black nor burnt out.
        reason: what speaks most against the picture, in words; empty for a score of 0.5 or more.
    """

    score: float
    sharpness: float
    exposure: float
    contrast: float
    haze: float
    visible_fraction: float
    reason: str


def measure_quality(image: np.ndarray, mask: np.ndarray | None = None) -> Quality:
    """Judge a standardised image before its illumination is corrected (that would hide what is measured here).

    Args:
        image: uint8 (size, size, 3) RGB, the field of view as inscribed circle.
        mask: uint8 (size, size), above 127 where the camera recorded the field; None = the whole circle.

    Raises:
        UserError: not a square RGB picture of at least 32 pixels, or a mask of another size.
    """
    found = measure_features(image, mask)
    parts = {name: weight * (found[name] - mean) / spread for name, (mean, spread, weight) in MODEL.items()}
    gradable = float(1 / (1 + np.exp(-np.clip(BIAS + sum(parts.values()), -30, 30))))
    score = gradable * found["visible"]
    ratio = float(np.exp(found["sharpness"]))
    return Quality(
        score=score,
        sharpness=ratio / (1 + ratio),
        exposure=1 - min(found["dark"] + found["bright"], 1.0),
        contrast=float(np.exp(found["contrast"])),
        haze=float(np.exp(found["haze"])),
        visible_fraction=found["visible"],
        reason="" if score >= 0.5 else _UNSEEN if found["visible"] < gradable else _reason(parts),
    )


def _reason(parts: dict[str, float]) -> str:
    """The worst fault; `parts` is what each feature adds in comparison with a typical gradable picture."""
    faint = parts["sharpness"] + parts["detail"] + parts["structure"] + parts["contrast"] + parts["haze"]
    faults = {
        "too dark": parts["dark"] + parts["light"],
        "overexposed": parts["bright"],
        # Both take the detail away; blur takes the finest first, a veil weakens all scales alike.
        "blurred" if parts["sharpness"] < parts["contrast"] + parts["haze"] else "hazy or with little contrast": faint,
    }
    return min(faults, key=faults.get)


def measure_features(image: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """The values that the module's text defines: `SIGNS` and visible; arguments and errors of `measure_quality`."""
    _check(image, mask)
    small, inside = _fixed_size(image, mask)
    density = cv2.log(small[..., 1].astype(np.float32) + _FLARE)
    # Outside, the mean of the inside: a black surround would put a rim into every average.
    density = np.where(inside > 0, density - np.float32(cv2.mean(density, inside)[0]), np.float32(0))
    inner = cv2.erode(inside, np.ones((13, 13), np.uint8), borderValue=0)
    inner = inner if inner.any() else inside
    fine = cv2.GaussianBlur(density, (0, 0), 1)
    middle = cv2.GaussianBlur(fine, (0, 0), 3**0.5)  # 1 and 3 are variances: together sigma 2
    # What is averaged over 2 pixels and more has nothing left that half the size could not show.
    weight = _halved((inside > 0).astype(np.float32))
    coarse = _average(_halved(middle), weight, 12**0.5 / 2)
    coarsest = _average(_halved(coarse), _halved(weight), 48**0.5 / 4)
    coarsest = cv2.resize(coarsest, coarse.shape, interpolation=cv2.INTER_LINEAR)
    inner_half = inner[::2, ::2]
    detail = fine - middle
    structure = _halved(fine) - coarse
    return {
        "sharpness": float(np.log(_rms(detail, inner) / _rms(_halved(middle) - coarse, inner_half))),
        "detail": _filled_share(detail, inner, _DETAIL),
        "structure": _filled_share(structure, inner_half, _STRUCTURE),
        "contrast": float(np.log(_rms(_halved(fine) - coarsest, inner_half))),
        **_light(small, inside),
    }


def _check(image: np.ndarray, mask: np.ndarray | None) -> None:
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(f"quality is measured on a square uint8 RGB image; got {image.dtype} {image.shape}")
    if len(image) < _SMALLEST:
        raise UserError(f"an image of {len(image)} pixels is too small to judge; expected at least {_SMALLEST}")
    if mask is not None and mask.shape != image.shape[:2]:
        raise UserError(f"the mask has shape {mask.shape}; expected {image.shape[:2]} as its image")


def _fixed_size(image: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The picture at `SIDE` and a uint8 mask, 255 inside the circle where the picture was recorded."""
    # A pixel less than the circle: the outermost ones are mixed with the surround.
    inside = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), SIDE // 2 - 2, 255, -1)
    if mask is not None:
        inside &= cv2.compare(_resized(mask), 250, cv2.CMP_GT)
    if not inside.any():
        raise UserError("the mask leaves nothing of the field of view")
    return _resized(image), inside


def _resized(image: np.ndarray) -> np.ndarray:
    """At `SIDE`: first averaged over whole blocks, which is ten times as fast as over fractions of a pixel."""
    side = len(image) // max(len(image) // SIDE, 1)
    if side < len(image):
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def _halved(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (values.shape[1] // 2, values.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _average(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average of float32 `values` over the inside, where `weight` is 1; towards 0 far from it."""
    total = cv2.GaussianBlur(values * weight, (0, 0), sigma)
    return total / cv2.max(cv2.GaussianBlur(weight, (0, 0), sigma), 0.05)


def _rms(band: np.ndarray, inner: np.ndarray) -> float:
    return float(np.sqrt(cv2.mean(band * band, inner)[0])) + 1e-4


def _filled_share(band: np.ndarray, inner: np.ndarray, typical: float) -> float:
    """0..1: how much of the inner field has structure in this band; a cell with an rms of `typical` counts half."""
    cells = (_CELLS, _CELLS)
    weight = (inner > 0).astype(np.float32)
    power, area = (cv2.resize(v, cells, interpolation=cv2.INTER_AREA) for v in (band * band * weight, weight))
    return float((area * power / (power + area * typical**2 + 1e-12)).sum() / area.sum())


def _light(small: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """haze, dark, bright, light and visible."""
    red, green, blue = cv2.split(small)
    brightest, darkest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    light, count = cv2.mean(brightest, inside)[0], cv2.countNonZero(inside)

    def pixels(channel: np.ndarray, low: int, high: int) -> np.ndarray:
        return cv2.bitwise_and(cv2.inRange(channel, low, high), inside)

    seen = pixels(brightest, _BLACK, 255) & cv2.inRange(darkest, 0, _BURNT - 1)
    return {
        "haze": float(np.log((cv2.mean(darkest, inside)[0] + 2) / (light + 2))),
        "dark": cv2.countNonZero(pixels(brightest, 0, _DARK - 1)) / count,
        "light": float(np.log(light + 2)),
        "bright": cv2.countNonZero(pixels(green, _BRIGHT + 1, 255)) / count,
        "visible": min(cv2.countNonZero(seen) / _CIRCLE_AREA, 1.0),
    }


def quality_report(
    kept: FundusDataset,
    dropped: Sequence[tuple[np.ndarray, str, float]],
    out: Path | str,
    count: int = 30,
    total: int | None = None,
) -> Path:
    """Write a page with the worst images that were kept and the best that were dropped; returns its path.

    Args:
        kept: a dataset with the column `quality`; images without a value are not shown.
        dropped: (uint8 (H, W, 3) RGB, name, score) of the best of the dropped images, or of all.
        out: the HTML file. count: images shown of each. total: how many were dropped; by default those given.

    Raises:
        UserError: no kept image has a quality, or an image cannot be read.
    """
    scores = kept.column("quality")
    if scores.isna().all():
        raise UserError("has no column quality", path=kept.path, hint="Make it with: fundus-preprocess run.")
    worst = scores.dropna().sort_values(kind="stable").index[:count]
    best = sorted(dropped, key=lambda item: (-item[2], item[1]))[:count]
    report = Report(
        f"Quality: {kept.name}",
        f"{len(kept)} images kept, {len(dropped) if total is None else total} dropped. Look at both sides of the border.",
    )
    _grid(report.section("Worst of the kept"),
          [(kept.read(i), kept.table["file_name"][i], scores[i]) for i in worst])  # fmt: skip
    _grid(report.section("Best of the dropped"), best)
    return report.write(out)


def _grid(report: Report, items: Sequence[tuple[np.ndarray, str, float]]) -> None:
    if not items:
        report.text("None.")
        return
    side = 2 * 160
    images = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image, _, _ in items]
    report.images(images, [f"{score:.2f} {Path(name).stem}" for _, name, score in items], photographs=True)
