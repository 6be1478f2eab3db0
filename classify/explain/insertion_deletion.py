"""Insertion and deletion curves (Petsiuk, Das and Saenko 2018, BMVC): does the class come and go with the pixels that a map
holds to be important?

Deletion replaces the pixels of the photograph, the most important first, with those of a baseline that shows nothing, and
insertion puts them into the baseline in the same order. A faithful map makes the class's probability fall early and rise
early. Two things differ from the paper. The baseline is the photograph itself, blurred until no lesion or vessel is left, or
its mean colour: black, as in the paper's deletion, is what lies outside of every field, and no photograph looks like it
inside. And only pixels inside the field are ordered, because the others show nothing.

What an order is worth depends on its grain, too: smooth patches take more from a photograph than scattered pixels do. Each
map is therefore held against one of the same grain, see `random_maps`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.integrate import trapezoid

from .field_blur import blurred_inside

BLUR, MEAN = BASELINES = ("blur", "mean")
_SIGMA = 0.1  # of the width: the optic disc is 0.13 wide
_BLACK = 12  # of 255: the camera's noise beside the field

Probability = Callable[[np.ndarray, int], np.ndarray]
"""uint8 images (m, s, s, 3), class -> its probability in each, float (m,)."""


@dataclass(frozen=True)
class Curves:
    """Probability of the class over the share of the field that was replaced, 0..1 in equal steps.

    Attributes:
        insertion: float64 (n, steps + 1), from the baseline to the photograph.
        deletion: float64 (n, steps + 1), from the photograph to the baseline.
    """

    insertion: np.ndarray
    deletion: np.ndarray

    @property
    def insertion_area(self) -> np.ndarray:
        """Area under each curve, 0..1, float64 (n,); large is good."""
        return _area(self.insertion)

    @property
    def deletion_area(self) -> np.ndarray:
        """The same; small is good."""
        return _area(self.deletion)

    @property
    def gain(self) -> np.ndarray:
        """Insertion area minus deletion area, -1..1, float64 (n,): 0 on average for an order that knows nothing."""
        return self.insertion_area - self.deletion_area


def insertion_deletion(
    probability: Probability, images: np.ndarray, baselines: np.ndarray, fields: np.ndarray, maps: np.ndarray,
    targets: np.ndarray, *, steps: int = 20, seed: int = 0, advance: Callable[[], None] = lambda: None,
) -> Curves:  # fmt: skip
    """Both curves of each image.

    Args:
        probability: what the classifier says.
        images: uint8 (n, s, s, 3).
        baselines: uint8 (n, s, s, 3), see `blurred` and `mean_colored`.
        fields: bool (n, s, s), the pixels that are replaced, in equal steps.
        maps: float (n, s, s), the largest value first; equal values come in random order.
        targets: int (n,), the class of each curve.
        steps: how many parts the field is replaced in.
        seed: of the random order.
        advance: called after every image.

    Raises:
        ValueError: shapes that do not fit, or a map that is not finite.
    """
    if not (images.shape == baselines.shape and images.shape[:3] == fields.shape == maps.shape):
        raise ValueError(f"images {images.shape}, fields {fields.shape} and maps {maps.shape} do not fit")
    if not np.isfinite(maps).all():
        raise ValueError("a map is not finite")
    random = np.random.default_rng(seed)
    insertion, deletion = np.zeros((2, len(images), steps + 1))
    for i, target in enumerate(targets):
        step = _steps(maps[i], fields[i], steps, random)[..., None]
        empty = np.where(fields[i][..., None], baselines[i], images[i])
        inserted = np.stack([np.where(step <= k, images[i], empty) for k in range(steps + 1)])
        deleted = np.stack([np.where(step <= k, empty, images[i]) for k in range(1, steps)])
        told = probability(np.concatenate([inserted, deleted]), int(target))
        insertion[i] = told[: steps + 1]
        deletion[i] = [told[steps], *told[steps + 1 :], told[0]]
        advance()
    return Curves(insertion, deletion)


def _steps(attribution: np.ndarray, field: np.ndarray, steps: int, random: np.random.Generator) -> np.ndarray:
    """With which step each pixel is replaced, 1..steps, and 0 outside of the field: int (s, s)."""
    values = attribution[field]
    order = np.lexsort((random.random(len(values)), -values))
    step = np.zeros(len(values), int)
    step[order] = 1 + np.arange(len(values)) * steps // max(len(values), 1)
    whole = np.zeros(field.shape, int)
    whole[field] = step
    return whole


def _area(curves: np.ndarray) -> np.ndarray:
    return trapezoid(curves, axis=1) / (curves.shape[1] - 1)


def random_maps(maps: np.ndarray, fields: np.ndarray, seed: int = 0) -> np.ndarray:
    """Maps of the same grain that know nothing of the photograph: float64 (n, s, s).

    Each is random noise with the map's power spectrum (random phases; Theiler et al. 1992, Physica D 58), so that it is as
    smooth or as grainy. Inside the field it then takes the map's own values, the largest where the noise is largest, so that
    it has as many equal ones. Outside it is 0.

    Args:
        maps: float (n, s, s). fields: bool (n, s, s).
    """
    random = np.random.default_rng(seed)
    made = np.zeros(maps.shape)
    for surrogate, attribution, field in zip(made, maps, fields, strict=True):
        inside = np.where(field, attribution, attribution[field].mean() if field.any() else 0)
        amplitude = np.abs(np.fft.rfft2(inside - inside.mean()))
        phase = np.angle(np.fft.rfft2(random.standard_normal(field.shape)))
        noise = np.fft.irfft2(amplitude * np.exp(1j * phase), s=field.shape)[field]
        order = np.lexsort((random.random(len(noise)), noise))
        values = np.empty(len(noise))
        values[order] = np.sort(attribution[field])
        surrogate[field] = values
    return made


def shown_fields(images: np.ndarray, circle: np.ndarray) -> np.ndarray:
    """Where each standardised photograph shows something: inside the circle, without black bars where a camera's frame cuts
    the circle. bool (n, s, s).

    Args:
        images: uint8 (n, s, s, 3). circle: bool (s, s).
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    fields = np.zeros(images.shape[:3], bool)
    for field, image in zip(fields, images, strict=True):
        bright = cv2.morphologyEx((image.max(axis=2) > _BLACK).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
        outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        # Filled outlines: a dark lesion or fovea is not a hole in the field.
        field[:] = (cv2.drawContours(np.zeros_like(bright), outlines, -1, 1, cv2.FILLED) > 0) & circle
        if not field.any():
            field[:] = circle
    return fields


def baseline_images(images: np.ndarray, fields: np.ndarray, kind: str = BLUR) -> np.ndarray:
    """What is left of each photograph when nothing is to be seen in it: uint8 (n, s, s, 3).

    Args:
        images: uint8 (n, s, s, 3). fields: bool (n, s, s).
        kind: "blur" or "mean", see `blurred` and `mean_colored`.

    Raises:
        ValueError: another kind.
    """
    if kind not in BASELINES:
        raise ValueError(f"baseline {kind!r} is none of {', '.join(BASELINES)}")
    make = blurred if kind == BLUR else mean_colored
    parts = [make(image, field) for image, field in zip(images, fields, strict=True)]
    return np.stack(parts) if parts else np.zeros_like(images)


def blurred(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Blurred with a Gaussian of a tenth of the width, of pixels in the field only, so that its rim does not darken."""
    smooth = blurred_inside(image, field, _SIGMA * len(image))
    return np.where(field[..., None], np.rint(smooth).clip(0, 255), image).astype(np.uint8)


def mean_colored(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The field in its mean colour."""
    mean = image[field].mean(axis=0) if field.any() else np.zeros(3)
    return np.where(field[..., None], np.rint(mean), image).astype(np.uint8)
