"""Is it a colour fundus photograph at all? Eyes from outside, empty frames, text and ordinary photographs are told apart.

The square around the field of view (without one: the whole frame) shrinks to 64 pixels, so the camera's pixels do not
matter. A convolutional network of 15 thousand weights looks at its colours twice: as they are, and each with mean 0 and
spread 1 over the circle, so that a dark eye is seen as well. It runs in numpy: no worker has to load torch for it. Its weights
lie beside this file; `picture_kind_training` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..runtime.errors import UserError
from .field_of_view import HOPELESS, FieldOfView

KINDS = ("fundus", "red_free", "fluorescein", "external_eye", "blank", "text", "photograph")
OF_THE_RETINA = KINDS[:3]
"""Kinds that show a retina; a picture of any kind but `fundus` is worth a look."""
REFUSE_BELOW = 0.02
"""A picture that shows a retina with less than this probability is to be refused: to lose an eye is the worse mistake."""

SIDE = 64
WEIGHTS = Path(__file__).parent / "weights" / "picture_kind.safetensors"
_LAYERS = 4
_FARTHEST = 3.0
_FLAT = 0.03  # added to the spread: the noise of an empty frame is not to look like structure
_REASONS = {
    "fundus": "",
    "red_free": "one colour only, dark vessels: a red-free photograph",
    "fluorescein": "one colour only, bright vessels: an angiogram",
    "external_eye": "it looks like an eye from outside",
    "blank": "nothing is to be seen in it",
    "text": "it looks like a page of text",
    "photograph": "it looks like an ordinary photograph",
}


@dataclass(frozen=True)
class PictureKind:
    """What a picture shows.

    Attributes:
        kind: the likeliest of `KINDS`.
        confidence: 0..1, the probability of this kind.
        retina: 0..1, the probability that it is any of `OF_THE_RETINA`.
        reason: why it is not a colour fundus photograph, one short sentence; empty for one.
    """

    kind: str
    confidence: float
    retina: float
    reason: str

    @property
    def refused(self) -> bool:
        """Whether it is so surely no picture of a retina that it is not to be used."""
        return self.retina < REFUSE_BELOW


def picture_kind(image: np.ndarray, fov: FieldOfView | None = None) -> PictureKind:
    """Tell fundus photographs from other pictures.

    Args:
        image: uint8 (height, width, 3) RGB, a camera frame, a picture cropped from one, or a smaller copy.
        fov: the field of view in pixels of `image`; None, or one below `HOPELESS`: the whole frame is looked at.

    Raises:
        UserError: not a uint8 RGB picture.
    """
    return judged(probabilities(small_copy(image, fov)[None])[0])


def judged(share: np.ndarray) -> PictureKind:
    """The answer for the probabilities of one picture, float (`KINDS`,)."""
    best = int(np.argmax(share))
    retina = float(share[: len(OF_THE_RETINA)].sum())
    return PictureKind(KINDS[best], float(share[best]), retina, _REASONS[KINDS[best]])


def small_copy(image: np.ndarray, fov: FieldOfView | None, side: int = SIDE) -> np.ndarray:
    """What the network looks at: uint8 (side, side, 3), black where the square lies outside the frame.

    Arguments and errors as in `picture_kind`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UserError(f"the kind of picture is told from a uint8 RGB image; got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    if fov is None or fov.confidence < HOPELESS:
        x, y, radius = width / 2, height / 2, max(height, width) / 2
    else:
        x, y, radius = fov.x, fov.y, fov.radius
    left, top = (max(0, int(centre - radius)) for centre in (x, y))
    square = image[top : int(np.ceil(y + radius)), left : int(np.ceil(x + radius))]
    if 0 in square.shape:
        return small_copy(image, None, side)
    # Averaging over whole blocks is ten times as fast as over fractions of a pixel; less than a factor of two remains.
    block = max(int(2 * radius) // side, 1)
    if block > 1 and min(square.shape[:2]) >= block:
        shape = square.shape[1] // block, square.shape[0] // block
        square = square[: shape[1] * block, : shape[0] * block]
        square = cv2.resize(square, shape, interpolation=cv2.INTER_AREA)
    else:
        block = 1
    scale = side / (2 * radius)
    # Pixel i is centred on i + 0.5.
    shift = [(block / 2 + edge - (centre - radius)) * scale - 0.5 for edge, centre in ((left, x), (top, y))]
    move = np.array([[block * scale, 0, shift[0]], [0, block * scale, shift[1]]])
    return cv2.warpAffine(square, move, (side, side), flags=cv2.INTER_LINEAR)


def probabilities(copies: np.ndarray, weights: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """The network: uint8 (n, SIDE, SIDE, 3) of `small_copy` -> float32 (n, `KINDS`), rows sum to 1.

    Args:
        weights: float32 arrays by name, as `picture_kind_training` makes them; None: those of the package.
    """
    weights = weights or _weights()
    values = two_looks(copies)
    for number in range(_LAYERS):
        values = _convolved(values, weights[f"{number}.weight"], weights[f"{number}.bias"])
    pooled = np.concatenate([values.mean((1, 2)), values.max((1, 2))], 1)
    hidden = np.maximum(pooled @ weights["hidden.weight"] + weights["hidden.bias"], 0)
    scores = hidden @ weights["kinds.weight"] + weights["kinds.bias"]
    power = np.exp(scores - scores.max(1, keepdims=True))
    return power / power.sum(1, keepdims=True)


@cache
def _weights() -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}


@cache
def _inscribed() -> np.ndarray:
    """bool (SIDE, SIDE): the circle of a copy, a little off its rim."""
    line = np.square(np.arange(SIDE) + 0.5 - SIDE / 2)
    return line[:, None] + line[None, :] < (0.47 * SIDE) ** 2


def two_looks(copies: np.ndarray) -> np.ndarray:
    """The colours 0..1 and the same with mean 0 and spread 1 over the circle: float32 (n, SIDE, SIDE, 6)."""
    colors = copies.astype(np.float32) / 255
    within = colors[:, _inscribed()]
    mean, spread = within.mean(1)[:, None, None], within.std(1)[:, None, None]
    even = np.clip((colors - mean) / (spread + _FLAT), -_FARTHEST, _FARTHEST)
    return np.concatenate([colors, even], 3)


def _convolved(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3 x 3 convolution of float32 (n, h, w, c) with stride 2, and what is negative cut off; `weight` is (9 c, out)."""
    n, height, width, _ = values.shape
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    product = np.concatenate(taps, 3).reshape(-1, len(weight)) @ weight
    product += bias
    return np.maximum(product, 0, out=product).reshape(n, height // 2, width // 2, -1)
