"""Gradability of a standardised image, whatever its size in pixels.

Everything is measured on a copy whose field of view has a radius of 112 pixels, made by averaging over areas, and what
that averaging blurs is made up to the same blur for each size, so that the same picture has the same score at 224, 512
or 2000 pixels. A smaller picture is enlarged: the detail that it lacks counts against it. With D the logarithm of the
green channel (vessels and haze are multiplications of light, so sums in D) and D_s its Gaussian average over s pixels of
that copy (D_1 over 1.07, with all averaging since the camera), inside the field and off what is black:

    sharpness  ln of rms(D_1 - D_2) over rms(D_2 - D_4): what of the vessels' scale is left of the next coarser one
    detail     the mean over a 14 x 14 grid of p / (p + 0.006^2), p the mean square of D_1 - D_2 in a cell
    contrast   ln of rms(D_1 - D_8)
    haze       ln of the mean over the field of the darkest channel over that of the brightest one
    dark       share of the field whose brightest channel is below 50 of 255
    light      ln of the mean of the brightest channel
    bright     share of the field whose green is above 215
    noise      ln of grain over 0.02, at least 0; grain is 1.4826 times the median of |D_1 - D_2|: vessels and lesions
               fill too little of the field to move a median, so this is what lies between them
    visible    share of the circle that was recorded and is neither black nor burnt out

The score is `visible` times the logistic function of a weighted sum of the others. The weights were fitted with the
judgements of EyeQ (Fu et al. 2019, MICCAI, LNCS 11764:48: good, usable, reject) and with planted blur, darkness, haze,
overexposure and noise on real and simulated eyes, on half of the patients:
`python benchmarks/preprocess_quality.py --eyes 400 --fit`. The fit keeps every weight on the side that its name says (more haze
never helps), so that each part can be read.

Grain that averages away at 224 pixels, as that of single pixels in a large camera file does, is not noise here. In a very
dark red picture the few grey levels of green count as noise, even where the vessels can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..runtime.errors import UserError

# A prediction measures quality, and must not wait for pandas.
if TYPE_CHECKING:
    from ..data.dataset import FundusDataset
    from ..runtime.report import Report

SIDE = 224
"""Diameter of the field, in pixels, at which everything is measured."""

_FLARE = 8.0  # grey levels added before the logarithm, so that the noise of black is not detail
_DARK, _BRIGHT, _BLACK, _BURNT, _UNLIT = 50, 215, 16, 250, 12
_CELLS, _DETAIL, _GRAIN = 14, 0.006, 0.02
_FINEST = 1.15  # variance of D_1 with all averaging since the camera; at 224 pixels the picture itself has 1/12
_SMALLEST = 32
_CIRCLE_AREA = int(cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), SIDE // 2 - 2, 1, -1).sum())

# What speaks for (1) and against (-1) a picture.
SIGNS = {
    "sharpness": 1, "detail": 1, "contrast": 1, "haze": -1, "dark": -1, "light": 1, "bright": -1, "noise": -1,
}  # fmt: skip
# name: (mean of gradable pictures, standard deviation of all, weight); from benchmarks/preprocess_quality.py --fit
MODEL: dict[str, tuple[float, float, float]] = {
    "sharpness": (-0.0913, 0.5265, 1.4874),
    "detail": (0.7414, 0.3611, 1.4514),
    "contrast": (-2.9810, 1.2679, 1.6721),
    "haze": (-1.1138, 0.5446, -0.2004),
    "dark": (0.0142, 0.3470, -2.2119),
    "light": (4.9950, 0.7293, 0.8654),
    "bright": (0.0072, 0.3128, -3.0135),
    "noise": (0.0019, 0.5095, -3.9548),
}
BIAS = 1.6686
# Blur and a veil both take the detail away. It is a veil when VEIL_BIAS and these times the standardised features are
# more than 0 together; from the same fit.
VEIL = {"sharpness": 4.8316, "contrast": -3.1862, "haze": 3.2839}
VEIL_BIAS = -1.2560
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
        noise: standard deviation of the grain between the vessels, in natural logarithms of light; about 0.01 in a good
            picture, above 0.02 it counts against it.
        visible_fraction: 0..1, share of the circle that was recorded and is neither black nor burnt out.
        reason: what speaks most against the picture, in words; empty for a score of 0.5 or more.
    """

    score: float
    sharpness: float
    exposure: float
    contrast: float
    haze: float
    noise: float
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
    standardized = {name: (found[name] - mean) / spread for name, (mean, spread, _) in MODEL.items()}
    parts = {name: MODEL[name][2] * value for name, value in standardized.items()}
    gradable = float(1 / (1 + np.exp(-np.clip(BIAS + sum(parts.values()), -30, 30))))
    score = gradable * found["visible"]
    ratio = float(np.exp(found["sharpness"]))
    unseen = found["visible"] < gradable and found["bright"] < 0.5  # what is burnt out has a reason of its own
    return Quality(
        score=score,
        sharpness=ratio / (1 + ratio),
        exposure=1 - min(found["dark"] + found["bright"], 1.0),
        contrast=float(np.exp(found["contrast"])),
        haze=float(np.exp(found["haze"])),
        noise=found["grain"],
        visible_fraction=found["visible"],
        reason="" if score >= 0.5 else _UNSEEN if unseen else _reason(parts, standardized),
    )


def _reason(parts: dict[str, float], standardized: dict[str, float]) -> str:
    """The worst fault; `parts` is what each feature adds in comparison with a typical gradable picture."""
    veil = VEIL_BIAS + sum(weight * standardized[name] for name, weight in VEIL.items())
    faults = {
        "too dark": parts["dark"] + parts["light"],
        "overexposed": 2 * parts["bright"],  # what is burnt out has lost its detail as well
        "noisy": parts["noise"],
        "hazy or with little contrast" if veil > 0 else "blurred":
            parts["sharpness"] + parts["detail"] + parts["contrast"] + parts["haze"],
    }  # fmt: skip
    return min(faults, key=faults.get)


def measure_features(image: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """The values that the module's text defines: `SIGNS`, visible and grain; arguments and errors of `measure_quality`."""
    _check(image, mask)
    small, spread = _fixed_size(image)
    red, green, blue = cv2.split(small)
    brightest, darkest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    inside = _lit(brightest, _recorded(mask))
    light = _light(green, brightest, darkest, inside)
    return {**_structures(green, inside, spread), **light}


def _check(image: np.ndarray, mask: np.ndarray | None) -> None:
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(f"quality is measured on a square uint8 RGB image; got {image.dtype} {image.shape}")
    if len(image) < _SMALLEST:
        raise UserError(f"an image of {len(image)} pixels is too small to judge; expected at least {_SMALLEST}")
    if mask is not None and mask.shape != image.shape[:2]:
        raise UserError(f"the mask has shape {mask.shape}; expected {image.shape[:2]} as its image")


def _recorded(mask: np.ndarray | None) -> np.ndarray:
    """uint8 (SIDE, SIDE): 255 inside the circle where the picture was recorded."""
    # Two pixels less than the circle: the outermost ones are mixed with the surround.
    inside = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), SIDE // 2 - 2, 255, -1)
    if mask is not None:
        nearest = cv2.resize(mask, inside.shape, interpolation=cv2.INTER_NEAREST_EXACT)
        inside &= cv2.compare(nearest, 127, cv2.CMP_GT)
    if not inside.any():
        raise UserError("the mask leaves nothing of the field of view")
    return inside


def _lit(brightest: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The inside without what is black: the edge of a field that is cut is no structure. All of it in a black picture."""
    lit = cv2.compare(brightest, _UNLIT, cv2.CMP_GE)
    count = cv2.countNonZero(inside)
    if cv2.countNonZero(lit & inside) == count:
        return inside
    lit = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) & inside
    return lit if cv2.countNonZero(lit) > 0.1 * count else inside


def _fixed_size(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture at `SIDE`, averaged over areas, and how far that spread each point: a variance in squared pixels.

    The variances add up: 1/12 for a box as wide as a pixel (those of the picture, and of the result where it averages over
    fractions of pixels), 1/6 for linear interpolation between pixels, seen over all positions.
    """
    # Whole blocks first, which is many times as fast as averaging over fractions of a pixel.
    block = next(b for b in range(max(len(image) // SIDE, 1), 0, -1) if len(image) % b == 0)
    side = len(image) // block
    if block > 1:
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    pixel = (SIDE / side) ** 2 / 12
    if side == SIDE:
        return image, pixel
    if side > 1.5 * SIDE:
        return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 2 * pixel + 1 / 12
    # So close to the size, interpolation passes over no pixel, and costs a fifth.
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), 3 * pixel


def _structures(green: np.ndarray, inside: np.ndarray, spread: float) -> dict[str, float]:
    """sharpness, detail, contrast, noise and grain; `spread` is the variance that `green` was averaged with."""
    density = cv2.log(green.astype(np.float32) + _FLARE)
    within = (inside > 0).astype(np.float32)
    # Outside, the mean of the inside: a black surround would put a rim into every average.
    density = (density - np.vdot(density, within) / within.sum()) * within
    inner = cv2.erode(inside, np.ones((13, 13), np.uint8), borderValue=0)
    inner = inner if inner.any() else inside
    fine = _blurred(density, max(_FINEST - spread, 0.05) ** 0.5)
    middle = _blurred(fine, 3**0.5)  # 1 and 3 are variances: together sigma 2
    # What is averaged over 2 pixels and more has nothing left that half the size could not show.
    weight, middle_half = _halved(within), _halved(middle)
    coarse = _average(middle_half, weight, 12**0.5 / 2)
    coarsest = _average(_halved(coarse), _halved(weight), 48**0.5 / 4)
    coarsest = cv2.resize(coarsest, coarse.shape, interpolation=cv2.INTER_LINEAR)
    counted = (inner > 0).astype(np.float32)
    counted_half = np.ascontiguousarray(counted[::2, ::2])
    detail = fine - middle
    area, power = _cells(counted), _cells(detail * detail * counted)
    grain = 1.4826 * float(np.median(np.abs(detail[::2, ::2][counted_half > 0]))) if counted_half.any() else 0.0
    return {
        "sharpness": float(np.log(_rms(detail, counted) / _rms(middle_half - coarse, counted_half))),
        "detail": float((area * power / (power + area * _DETAIL**2 + 1e-12)).sum() / area.sum()),
        "contrast": float(np.log(_rms(_halved(fine) - coarsest, counted_half))),
        "noise": float(np.log(max(grain / _GRAIN, 1.0))),
        "grain": grain,
    }


def _halved(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (values.shape[1] // 2, values.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    taps = 2 * math.ceil(3 * sigma) + 1  # OpenCV's own choice, 4 sigma, costs a third more
    return cv2.GaussianBlur(values, (taps, taps), sigma)


def _average(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average of float32 `values` over the inside, where `weight` is 1; towards 0 far from it."""
    total = _blurred(values * weight, sigma)
    return total / cv2.max(_blurred(weight, sigma), 0.05)


def _cells(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)


def _rms(band: np.ndarray, counted: np.ndarray) -> float:
    return float(np.sqrt(np.vdot(band * counted, band) / max(counted.sum(), 1))) + 1e-4


def _light(green: np.ndarray, brightest: np.ndarray, darkest: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """haze, dark, light, bright and visible."""
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
    from ..runtime.report import Report

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
