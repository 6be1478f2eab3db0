"""The feature space that needs no download: biomarkers of a fundus photograph that a reader can name.

In the spirit of the Frechet radiomics distance (Konz et al. 2024, arXiv:2412.01496), with what is known of the retina in
place of general radiomics: the field of view, where disc and fovea lie and how they stand out, colours by region, vessels,
texture by scale, and blobs that may be lesions. Each number is described where it is measured.
"""

from __future__ import annotations

import numpy as np

from ...preprocess.landmarks import Landmarks
from .base import batches
from .color import color_features
from .eye import SIDE, Eye
from .layout import field_features, landmark_features, symmetry_features
from .texture import texture_features
from .vessels import vessel_features

# A network's sums may depend on how many images it sees at once, so it always sees exactly this many.
_BATCH = 16
_PARTS = (field_features, landmark_features, color_features, vessel_features, texture_features, symmetry_features)


class RetinaSpace:
    """See `base.FeatureSpace`."""

    name = "retina"
    version = "1"
    size = SIDE
    standardized = True
    in_processes = True

    def __init__(self):
        nothing = np.zeros((1, SIDE, SIDE, 3), np.uint8)
        self.feature_names = tuple(_features(_eyes(nothing)[0]))
        self.dimensions = len(self.feature_names)

    def features(self, images: np.ndarray) -> np.ndarray:
        """See `base.FeatureSpace`."""
        eyes = (eye for batch in batches(images, SIDE, _BATCH) for eye in _eyes(batch))
        rows = [list(_features(eye).values()) for eye in eyes]
        return np.array(rows, np.float32).reshape(len(rows), self.dimensions)


def _features(eye: Eye) -> dict[str, float]:
    return {name: value for part in _PARTS for name, value in part(eye).items()}


def _eyes(images: np.ndarray) -> list[Eye]:
    """At most 16 images of 256 pixels with their landmarks."""
    landmarks, heat = _landmarks(images)
    return [Eye(*one) for one in zip(images, landmarks, heat, strict=True)]


def _landmarks(images: np.ndarray) -> tuple[list[Landmarks], np.ndarray]:
    import torch

    from ...preprocess.landmark_net import as_batch, look, trained_network
    from ...preprocess.landmarks import decoded

    batch = np.zeros((_BATCH, SIDE, SIDE, 3), np.uint8)
    batch[: len(images)] = images
    maps = look(trained_network(), as_batch(batch))
    heat = torch.softmax(maps.disc.flatten(1), 1).reshape(maps.disc.shape).numpy()
    return decoded(maps)[: len(images)], heat[: len(images)]
