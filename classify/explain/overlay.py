"""Maps as colours over a photograph: how strong is how opaque, on one scale for all maps of a sheet."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

_OPACITY = 0.7
_SIGNED_OPACITY = 0.9
_OUTLIERS = 99.5  # percentile
_LIFT = 40
# Blue and orange are told apart by all (Okabe and Ito 2008).
_FOR, _AGAINST = np.array([0, 114, 178]), np.array([230, 120, 0])


def color_scale(maps: np.ndarray, outliers: bool = False) -> float:
    """One scale for all maps of a sheet, their largest magnitude, so that a weak map looks weak beside a strong one.

    Args:
        outliers: maps of pixels have a few that are far stronger than all others: leave out half a percent of what is not 0.
    """
    strength = np.abs(maps[maps != 0])
    if not strength.size:
        return 0.0
    return float(np.percentile(strength, _OUTLIERS) if outliers else strength.max())


def overlay(image: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """The photograph with the map laid over it, the more opaque the stronger, so that 0 leaves it unchanged.

    The colours run from blue to green, which no fundus photograph has.

    Args:
        image: uint8 (h, w, 3).
        attribution: float (h, w), at least 0.
        scale: the value shown at full strength; 0 shows nothing.

    Returns:
        uint8 (h, w, 3).
    """
    strength = np.clip(attribution / scale, 0, 1) if scale > 0 else np.zeros_like(attribution)
    return _blend(image, _ramp(strength), _OPACITY * strength)


def signed_overlay(image: np.ndarray, attribution: np.ndarray, scale: float, channel: int | None = None) -> np.ndarray:
    """The photograph in grey with a signed map laid over it: blue speaks for the score, orange against it.

    Arguments and return as in `overlay`, but the map has both signs.

    Args:
        channel: show this channel of the photograph, instead of the mean of all.
    """
    grey = image.mean(axis=2) if channel is None else image[..., channel]
    strength = np.clip(attribution / scale, -1, 1) if scale > 0 else np.zeros_like(attribution)
    colors = np.where(strength[..., None] > 0, _FOR, _AGAINST)
    # Among middle greys both colours stand out, from a bright disc as from dark vessels; what is black outside stays so.
    lift = _LIFT * np.clip(image.max(axis=2) / _LIFT, 0, 1) ** 2
    calm = np.repeat((0.55 * grey + lift)[..., None], 3, axis=2)
    return _blend(calm, colors, _SIGNED_OPACITY * np.abs(strength))


def evidence_colors() -> LinearSegmentedColormap:
    """The same colours without a photograph, from full strength against (0) by white (0.5) to full strength for (1)."""
    return LinearSegmentedColormap.from_list("evidence", [_AGAINST / 255, (1.0, 1.0, 1.0), _FOR / 255])


def color_key(signed: bool, width: int = 160, height: int = 12) -> np.ndarray:
    """The colours from 0 to full strength, or from full strength against to full strength for: uint8 (height, width, 3)."""
    grey = np.full((height, width, 3), 128, np.uint8)
    if signed:
        return signed_overlay(grey, np.tile(np.linspace(-1, 1, width), (height, 1)), 1.0)
    return overlay(grey, np.tile(np.linspace(0, 1, width), (height, 1)), 1.0)


def lay_over(image: np.ndarray, attribution: np.ndarray, scale: float, signed: bool) -> np.ndarray:
    """`signed_overlay` or `overlay`."""
    return (signed_overlay if signed else overlay)(image, attribution, scale)


def _ramp(strength: np.ndarray) -> np.ndarray:
    return matplotlib.colormaps["winter"](strength)[..., :3] * 255


def _blend(image: np.ndarray, colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    opacity = opacity[..., None]
    return np.rint(image * (1 - opacity) + colors * opacity).astype(np.uint8)
