"""Three ways to take away what a region tells: blank it, blur it, or put another patient's in its place.

No way is innocent: each makes pictures that no camera makes. That is why `region_removal` does the same at random places too.
"""

from __future__ import annotations

import cv2
import numpy as np

from .field_blur import blurred_inside

BLANK, BLUR, SWAP = FILLS = ("blank", "blur", "swap")
_PART_OF = 0.1  # of a pixel's area: it then belongs to the region
_MARGIN, _FEATHER = 1 / 100, 1 / 128  # of the width
_BLUR = 0.06  # of the width, the standard deviation: nearly a disc's radius
_RIM, _RING = 0.03, 0.05  # of the width
_SCALES = 1 / 2 ** np.arange(6, -1, -1)  # of the width, ascending
_ENOUGH = 0.2


def opacity(mask: np.ndarray) -> np.ndarray:
    """How much of each pixel is replaced, float32 (s, s): all of the region with a margin of 1 % of the width, since a vessel
    that covers a part of a pixel would still be seen, and less and less outside that.

    Args:
        mask: float32 (s, s), 0..1.
    """
    side = len(mask)
    reach = _reach(side, _MARGIN)
    core = cv2.dilate(
        (mask > _PART_OF).astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    )
    return np.maximum(core, cv2.GaussianBlur(core, (0, 0), max(_FEATHER * side, 0.5)))


def fill(
    image: np.ndarray, alpha: np.ndarray, field: np.ndarray, kind: str, donor: np.ndarray | None = None
) -> np.ndarray:
    """An image with a region replaced.

    Args:
        image: uint8 (s, s, 3).
        alpha: float32 (s, s), of `opacity`; what lies outside the field is never touched.
        field: float32 (s, s).
        kind: "blank": the colours around, carried inwards. "blur": the image itself, blurred by 6 % of the width. "swap":
            `donor`, its mean colour shifted to that of the surroundings; the colours around where it has nothing.
        donor: uint8 (s, s, 3), another eye laid on this one, 0 where it was not photographed.
    """
    alpha = np.where(field > 0.5, alpha, 0).astype(np.float32)
    if not alpha.any():
        return image
    photograph = image.astype(np.float32)
    if kind == BLUR:
        new = blurred_inside(photograph, field > 0.5, _BLUR * len(photograph))
    else:
        new = _carried_inwards(photograph, (1 - alpha) * (field > 0.5))
        new = _swapped(photograph, new, donor, alpha, field) if kind == SWAP else new
    mixed = photograph + alpha[..., None] * (new - photograph)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _carried_inwards(photograph: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Each pixel from the smallest surroundings that hold enough of what is known: float32 (s, s, 3)."""
    side = len(photograph)
    weighted = photograph * known[..., None]
    average = weighted.sum((0, 1)) / max(float(known.sum()), 1e-6)
    filled, done = np.zeros_like(photograph), np.zeros(known.shape, np.float32)
    for scale in _SCALES:
        reach = _reach(side, scale)
        near, colors = _boxed(known.astype(np.float32), reach), _boxed(weighted, reach)
        taken = (1 - done) * np.clip(near / _ENOUGH, 0, 1)
        filled += taken[..., None] * colors / np.maximum(near, 1e-6)[..., None]
        done += taken
    return filled + (1 - done)[..., None] * average


def _reach(side: int, share: float) -> int:
    """Side in pixels of a window that reaches this share of the width to all sides, at least one pixel."""
    return 2 * max(1, round(share * side)) + 1


def _boxed(values: np.ndarray, reach: int) -> np.ndarray:
    """Two box filters: nearly a Gaussian, at the same price for any width."""
    for _ in range(2):
        values = cv2.blur(values, (reach, reach), borderType=cv2.BORDER_CONSTANT)
    return values


def _swapped(
    photograph: np.ndarray, blank: np.ndarray, donor: np.ndarray, alpha: np.ndarray, field: np.ndarray
) -> np.ndarray:
    # The last pixels of a photograph are dim: they would draw a rim across this one.
    there = cv2.erode((donor.max(axis=2) > 0).astype(np.uint8), np.ones((_reach(len(alpha), _RIM),) * 2, np.uint8)) > 0
    # A ring around the region, in which both eyes show what is not replaced.
    wider = cv2.dilate(alpha, np.ones((_reach(len(alpha), _RING),) * 2, np.uint8)) > 0.5
    around = wider & (alpha < 0.05) & (field > 0.5) & there
    ring = around if around.any() else (field > 0.5) & there
    if not ring.any():
        return blank
    shift = photograph[ring].mean(0) - donor[ring].astype(np.float32).mean(0)
    return np.where(there[..., None], donor.astype(np.float32) + shift, blank)
