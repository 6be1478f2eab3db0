"""How likely an independent classifier finds a class: what `fundus-synth generate --classifier RUN` asks of each image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..data.cache import fit_square
from ..runtime.errors import UserError
from .backbones import Classifier
from .checkpoint import About, load_classifier
from .predictions import predict_images
from .tasks import task_of


@dataclass(frozen=True)
class ClassScore:
    """A `synth.rejection.ClassScore`: picklable; the classifier is opened where it is first used.

    Attributes:
        run: folder of `fundus-classify train`.
        label: the class.

    Raises:
        UserError: when called, no classifier in `run`, or it does not know the class.
    """

    run: str
    label: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"classifier {self.run}"

    @cached_property
    def _opened(self) -> tuple[Classifier, About]:
        model, about = load_classifier(self.run)
        if self.label not in about.classes:
            known = ", ".join(about.classes)
            raise UserError(f"does not know {self.label}; its classes are {known}", path=self.run)
        return model, about

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, size, size, 3) RGB -> float64 (n,), probability of the class."""
        model, about = self._opened
        fitted = np.stack([fit_square(image, model.size) for image in images])
        return predict_images(model, fitted, task=task_of(about.target))[:, about.classes.index(self.label)]
