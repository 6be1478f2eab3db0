"""What an explanation is about: the score of a class, or the direction of a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ...data.targets import HEMOGLOBIN
from ..backbones import Classifier
from ..checkpoint import About
from ..heads import ORDERED, REGRESSION, grade_value

LOWER, HIGHER = DIRECTIONS = ("lower", "higher")


@dataclass(frozen=True)
class Scores:
    """What can be asked of a network.

    Attributes:
        names: what each score is about, in the order of the targets of `methods.attribute`.
        of: the network's outputs (n, k) -> the scores (n, len(names)).
        unit: of the scores, for people.
    """

    names: tuple[str, ...]
    of: Callable[[torch.Tensor], torch.Tensor]
    unit: str

    @property
    def directed(self) -> bool:
        """Whether they are the two directions of one number."""
        return self.names == DIRECTIONS


def scores_of(model: Classifier, about: About) -> Scores:
    """The logit of each class or label; of haemoglobin (g/dL) and of the heads for grades ("ordinal", "regression") what makes
    the number lower, and what makes it higher.

    The number of an ordinal head is the expected grade.
    """
    if about.target == HEMOGLOBIN:
        return Scores(DIRECTIONS, lambda outputs: _both_ways(outputs[:, 0]), "g/dL")
    if model.head in ORDERED:
        value = grade_value if model.head == REGRESSION else expected_grade
        return Scores(DIRECTIONS, lambda outputs: _both_ways(value(outputs)), "grades")
    return Scores(tuple(about.classes), lambda outputs: outputs, "logit")


def expected_grade(log_probabilities: torch.Tensor) -> torch.Tensor:
    """The mean of the grades 0..k-1 under their probabilities: float (n, k) -> (n,)."""
    grades = torch.arange(log_probabilities.shape[1], device=log_probabilities.device)
    return (log_probabilities.exp() * grades).sum(dim=1)


class Scored(nn.Module):
    """A network that returns its scores instead of its outputs."""

    def __init__(self, model: nn.Module, scores: Scores | None):
        super().__init__()
        self.model, self.scores = model, scores
        # Where `layers.as_maps` looks for what it must know of the tokens.
        self.network = getattr(model, "network", model)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.model(images)
        return outputs if self.scores is None else self.scores.of(outputs)


def _both_ways(value: torch.Tensor) -> torch.Tensor:
    return torch.stack([-value, value], dim=1)
