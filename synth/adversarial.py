"""Adversarial training of one generator from latent vectors: what one step does, and nothing of files or progress."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.errors import UserError
from ..runtime.processes import random_rows
from ..runtime.training import update_average
from .checkpoint import GeneratorInfo
from .differentiable_augmentation import augment
from .generator_training import GeneratorTraining
from .image_store import ImageStore
from .losses import discriminator_loss, generator_loss
from .sampling import sample


@dataclass(frozen=True)
class Recipe:
    """What an optimisation step needs to know beside the networks.

    Attributes:
        batch_size: real and generated images of one step.
        learning_rate: of both networks (Adam, betas 0.5 and 0.999 as in DCGAN).
        width: channels of the networks' layers next to the image.
        policy: parts of the differentiable augmentation; empty for none.
        mirror: show every other real image mirrored, as the patient's other eye; for generators without an eye label.
        black_surround: make generated images exactly black where nearly all real ones are.
        average_images: half-life of the generator's moving average, in images; 0 keeps the generator itself.
    """

    batch_size: int = 32
    learning_rate: float = 4e-4
    width: int = 32
    policy: tuple[str, ...] = ("translation",)
    mirror: bool = True
    black_surround: bool = True
    average_images: int = 10_000


# Study E as published (widths and learning rate are DCGAN's).
PLAIN = Recipe(learning_rate=2e-4, width=64, policy=(), mirror=False, black_surround=False, average_images=0)


class AdversarialTraining(GeneratorTraining):
    """A generator and a discriminator, optimised in turn, and the moving average of the generator that is kept.

    Args:
        generator, discriminator: networks as in `networks.dcgan`.
        images: the real images.
        recipe: how.
        seed: of everything random.

    Attributes:
        average: the moving average of the generator, in evaluation mode.
        figures: of the last step: d_loss, g_loss, real_score, fake_score, and real_side, the share of the real images
            with a score above zero.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, images: ImageStore, recipe: Recipe, seed: int):
        super().__init__(seed)
        self.generator, self.discriminator = generator, discriminator
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.images, self.recipe, self.batch_size = images, recipe, recipe.batch_size
        self.register_buffer("started_trained", torch.tensor(False))

    @property
    def kept(self) -> dict[str, nn.Module]:
        """The averaged generator."""
        return {"generator": self.average}

    def pictures(self, count: int) -> np.ndarray:
        """Images of the averaged generator from seeds 0, 1, 2, ...: uint8 (count, size, size, 3)."""
        return sample(self.average, list(range(count)))

    def train(self, mode: bool = True) -> AdversarialTraining:
        """Switch the two players between training and evaluation mode; the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    def on_fit_start(self) -> None:
        """Bring the images to the device, where they fit."""
        self.images.to(self.device)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for each network."""
        options = {"lr": self.recipe.learning_rate, "betas": (0.5, 0.999)}
        networks = (self.generator, self.discriminator)
        return [torch.optim.Adam(network.parameters(), **options) for network in networks]

    def training_step(self, step: int) -> None:
        """Step number `step`: the discriminator, then the generator on the same fakes, then the average."""
        self.begin_step(step)
        generator_optimizer, discriminator_optimizer = self.optimizers()
        self.set_learning_rate(self.recipe.learning_rate * float(self.pace))
        real = self.real_batch(step)
        fake = self.generator(random_rows(torch.randn, len(real), self.generator.latent, device=real.device))

        real_scores, fake_scores = self.scores(real), self.scores(fake.detach())
        d_loss = discriminator_loss(real_scores, fake_scores)
        self.take_step(discriminator_optimizer, d_loss)

        # Its own weights need no gradient here: that saves a quarter of the step.
        self.discriminator.requires_grad_(False)
        g_loss = generator_loss(self.scores(fake))
        self.take_step(generator_optimizer, g_loss)
        self.discriminator.requires_grad_(True)

        self.update_averages(step)
        self.end_step(
            step, d_loss=d_loss, g_loss=g_loss, real_score=real_scores.mean(), fake_score=fake_scores.mean(),
            real_side=(real_scores > 0).float().mean(),
        )  # fmt: skip

    def real_batch(self, step: int) -> Tensor:
        """The real images of step `step`: float (batch_size, 3, size, size) in -1..1, mirrored by the recipe.

        Where several processes train together, this one's share of them.
        """
        real = self.images.batch(self.own_batch(step, len(self.images)), self.device)
        if self.recipe.mirror:
            mirrored = random_rows(torch.rand, len(real), 1, 1, 1, device=real.device) < 0.5
            real = torch.where(mirrored, real.flip(3), real)
        return real.contiguous(memory_format=torch.channels_last)

    def scores(self, images: Tensor) -> Tensor:
        """The discriminator's scores (B,) of freshly augmented images."""
        return self.discriminator(augment(images, self.recipe.policy, self.disguise))

    def update_averages(self, step: int) -> None:
        """Move the averaged generator towards the one of step `step`."""
        update_average(self.average, self.generator, self.average_decay(step))

    def start_from(
        self, generator: nn.Module, weights: dict[str, Tensor], info: GeneratorInfo, label: str, path: Path
    ) -> None:
        """Begin with these networks instead of random ones.

        Args:
            generator: of an earlier training.
            weights: of its discriminator.
            info: of that generator.
            label: the class that is wanted of it.
            path: where it is from, for errors.

        Raises:
            UserError: they are other networks than this training's.
        """
        if generator.architecture != self.generator.architecture:
            ours, theirs = self.generator.architecture, generator.architecture
            raise UserError(f"has other networks ({theirs}) than this training ({ours})", path=path)
        surround = self.generator.field_of_view.clone()
        for network in (self.generator, self.average):
            network.load_state_dict(generator.state_dict())
            network.field_of_view.copy_(surround)
        self.discriminator.load_state_dict(weights)
        self.started_trained.fill_(True)

    def average_decay(self, step: int) -> float:
        """Decay of the moving average: the recipe's half-life, shorter at first so that random weights are forgotten."""
        if self.recipe.average_images == 0:
            return 0.0
        decay = 0.5 ** (self.recipe.batch_size / self.recipe.average_images)
        return decay if self.started_trained else min(decay, (1 + step) / (10 + step))
