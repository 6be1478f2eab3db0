"""CycleGAN: two generators, from one class to another and back, trained on unpaired eyes (Zhu, Park, Isola and Efros 2017).

Each patch of each image is judged by itself (averaged scores would let good patches hide bad ones), and L1 asks for the
exact eye back, where a square would forgive small vessels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..runtime.processes import own_rows, random_rows
from ..runtime.training import update_average
from .differentiable_augmentation import augment
from .generator_training import GeneratorTraining, batch_indices, seed_of
from .image_pool import ImagePool
from .image_store import ImageStore
from .networks.cyclegan import Discriminator, Generator, field_of
from .sampling import NETWORK_BATCH, to_pixels

BACK = "back"
"""The name of the generator that translates from the class to the source, beside "generator"."""

_SMALLEST_PACE = 0.1


@dataclass(frozen=True)
class CycleRecipe:
    """What an optimisation step needs to know beside the networks.

    The pool, the optimiser and the share of identity are the paper's. Its networks (width 64, 6 or 9 blocks) are for a GPU,
    these for two cores. The paper's `cycle` is 10, for translations that change the whole picture. Lesions change a
    fiftieth of an eye, and once removed cannot come back in their places: on phantoms, with a weight of 10 the generators
    were still the identity after 200 steps (benchmarks/cyclegan_phantoms.py, one seed).

    Attributes:
        source_label: the class of the eyes that are translated.
        batch_size: eyes of each class in one step.
        learning_rate: of the generators (Adam, betas 0.5 and 0.999).
        judging_rate: that of the discriminators, as a multiple (Heusel et al. 2017, "two time-scale update rule").
        head_start: steps in which the discriminators learn alone, so that the generators are led to lesions from the first.
        constant_steps, decay_steps: the learning rate is constant for the first, then falls linearly over the second to a
            tenth, and stays there for whoever trains on.
        width, blocks: of the generators; None for the paper's number of blocks.
        cycle: weight of the L1 distance between an eye and its translation translated back.
        identity: weight of the L1 distance between an eye and its "translation" to the class it has, times `cycle`.
        pool: earlier translations that each discriminator is shown beside new ones.
        policy: parts of the differentiable augmentation; empty for none.
        average_images: half-life of the generators' moving averages, in images; 0 keeps the generators themselves.
    """

    source_label: str = "normal"
    batch_size: int = 2
    learning_rate: float = 4e-4
    judging_rate: float = 4.0
    head_start: int = 150
    constant_steps: int = 1500
    decay_steps: int = 1500
    width: int = 16
    blocks: int | None = 2
    cycle: float = 1.0
    identity: float = 0.5
    pool: int = 50
    policy: tuple[str, ...] = ("color", "translation")
    average_images: int = 200


class Eyes(NamedTuple):
    """A batch of real eyes: `images` float (B, 3, size, size) in -1..1 and their `field` of view, bool (B, 1, size, size)."""

    images: Tensor
    field: Tensor


class CycleTraining(GeneratorTraining):
    """Generators from the source class to the other (`generator`) and `back`, and a discriminator of each class.

    Args:
        source, target: uint8 (n, size, size, 3) RGB eyes of the two classes, memory maps or arrays.
        recipe: how.
        seed: of everything random, the first weights too.

    Attributes:
        average, average_back: moving averages of the generators, in evaluation mode.
        figures: detached scalars of the last step, sums over both directions: g_loss and d_loss (least squares), cycle and
            identity (L1, images in -1..1, unweighted).
    """

    def __init__(self, source: np.ndarray, target: np.ndarray, recipe: CycleRecipe, seed: int):
        super().__init__(seed)
        self.recipe, self.batch_size = recipe, recipe.batch_size
        self.source, self.target = ImageStore(source), ImageStore(target)
        size, width = source.shape[1], recipe.width
        torch.manual_seed(seed)
        self.generator = Generator(size, width, recipe.blocks)
        self.back = Generator(size, width, recipe.blocks)
        # Patches are small, so wider discriminators cost little; they have to find the lesions first.
        self.judge_of_target = Discriminator(size, 2 * width)
        self.judge_of_source = Discriminator(size, 2 * width)
        self.pool_of_target, self.pool_of_source = ImagePool(recipe.pool, size), ImagePool(recipe.pool, size)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.average_back = copy.deepcopy(self.back).requires_grad_(False)

    @property
    def kept(self) -> dict[str, nn.Module]:
        """The moving averages of both generators; without batch norm, training and evaluation are the same to them."""
        return {"generator": self.average, BACK: self.average_back}

    @torch.inference_mode()
    def pictures(self, count: int) -> np.ndarray:
        """`count` source eyes, always the same, translated: uint8 (count, size, size, 3) RGB."""
        eyes = self.source.batch(torch.arange(count) % len(self.source), self.device)
        return np.concatenate([to_pixels(self.average(part)) for part in eyes.split(NETWORK_BATCH)])

    def on_fit_start(self) -> None:
        """Bring the images to the device, where they fit."""
        self.source.to(self.device)
        self.target.to(self.device)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for both generators and one for both discriminators."""
        pairs = ((self.generator, self.back), (self.judge_of_target, self.judge_of_source))
        options = {"lr": self.recipe.learning_rate, "betas": (0.5, 0.999)}
        return [torch.optim.Adam(chain(*(network.parameters() for network in pair)), **options) for pair in pairs]

    def set_learning_rate(self, rate: float) -> None:
        """Give the generators' optimiser this learning rate, and the discriminators' its multiple."""
        for optimizer, share in zip(self.trainer.optimizers, (1.0, self.recipe.judging_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * rate

    def training_step(self, step: int) -> None:
        """Step number `step`: both generators, unless it is too early, then both discriminators, then the averages."""
        self.begin_step(step)
        generators, discriminators = self.optimizers()
        self.set_learning_rate(self.recipe.learning_rate * pace_at(step, self.recipe) * float(self.pace))
        source = self.real_eyes(self.source, "source", step)
        target = self.real_eyes(self.target, "target", step)

        # The discriminators' own weights need no gradient here.
        self._train_judges(False)
        generators_learn = step >= self.recipe.head_start
        with torch.set_grad_enabled(generators_learn):
            made, losses = self.translate_both(source, target)
        if generators_learn:
            self.take_step(generators, total_loss(losses, self.recipe))
        self._train_judges(True)

        d_loss = self.judge_both(source.images, target.images, *made)
        self.take_step(discriminators, d_loss)
        for average, network in ((self.average, self.generator), (self.average_back, self.back)):
            update_average(average, network, self.average_decay(step))
        self.end_step(step, d_loss=d_loss, **losses)

    def real_eyes(self, images: ImageStore, name: str, step: int) -> Eyes:
        """The eyes of class `name` of step `step`, black outside their fields, half of them mirrored.

        What a generator makes of a mirrored eye is compared with mirrored eyes, so it learns nothing of sides. Where
        several processes train together, this one's share of them.
        """
        chosen = batch_indices(step, self.batch_size, len(images), seed_of(self.seed, name))
        eyes = images.batch(chosen[own_rows(self.batch_size)], self.device)
        mirrored = random_rows(torch.rand, len(eyes), 1, 1, 1, device=eyes.device) < 0.5
        eyes = torch.where(mirrored, eyes.flip(3), eyes)
        field = field_of(eyes)
        return Eyes(torch.where(field, eyes, -1.0).contiguous(), field)

    def translate_both(self, source: Eyes, target: Eyes) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Translate in both directions and back again.

        Returns:
            the translated (to source, to target) images and the generators' losses: g_loss, cycle and identity.
        """
        # Translating and identity in one call: instance norm keeps images apart, and larger batches are faster.
        to_target, target_again = self.generator(*_both(source, target)).chunk(2)
        to_source, source_again = self.back(*_both(target, source)).chunk(2)
        source_back = self.back(to_target, source.field)
        target_back = self.generator(to_source, target.field)
        losses = {
            "g_loss": patch_loss(self.scores(self.judge_of_target, to_target), real=True)
            + patch_loss(self.scores(self.judge_of_source, to_source), real=True),
            "cycle": F.l1_loss(source_back, source.images) + F.l1_loss(target_back, target.images),
            "identity": F.l1_loss(source_again, source.images) + F.l1_loss(target_again, target.images),
        }
        return (to_source, to_target), losses

    def judge_both(self, source: Tensor, target: Tensor, to_source: Tensor, to_target: Tensor) -> Tensor:
        """The discriminators' loss, half of each class's least squares as in the paper (section 7.1)."""
        pairs = (
            (self.judge_of_source, source, self.pool_of_source.exchange(to_source)),
            (self.judge_of_target, target, self.pool_of_target.exchange(to_target)),
        )
        return sum(
            0.5 * (patch_loss(self.scores(judge, real), real=True) + patch_loss(self.scores(judge, fake), real=False))
            for judge, real, fake in pairs
        )

    def scores(self, judge: nn.Module, images: Tensor) -> Tensor:
        """A discriminator's scores of the patches of freshly augmented images."""
        return judge(augment(images, self.recipe.policy, self.disguise))

    def average_decay(self, step: int) -> float:
        """Decay of the moving averages: the recipe's half-life, shorter at first so that early weights are forgotten."""
        if self.recipe.average_images == 0:
            return 0.0
        return min(0.5 ** (self.batch_size / self.recipe.average_images), (1 + step) / (10 + step))

    def _train_judges(self, train: bool) -> None:
        self.judge_of_source.requires_grad_(train)
        self.judge_of_target.requires_grad_(train)


def patch_loss(scores: Tensor, real: bool) -> Tensor:
    """Least squares (Mao et al. 2017) of every patch's score to 1 (real) or 0, then the mean: a scalar."""
    return (scores - float(real)).square().mean()


def total_loss(losses: dict[str, Tensor], recipe: CycleRecipe) -> Tensor:
    """What the generators minimise (eq. 3, and section 5.2 for identity): g_loss and the weighted L1 distances."""
    return losses["g_loss"] + recipe.cycle * (losses["cycle"] + recipe.identity * losses["identity"])


def pace_at(step: int, recipe: CycleRecipe) -> float:
    """The learning rate of step `step` as a share of the first, by the step's number alone."""
    over = max(0, step - recipe.constant_steps) / recipe.decay_steps
    return max(1 - over, _SMALLEST_PACE)


def _both(first: Eyes, second: Eyes) -> Eyes:
    return Eyes(torch.cat([first.images, second.images]), torch.cat([first.field, second.field]))
