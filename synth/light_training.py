"""How the light generator is trained: on one class, or on all of them at once as the shared start of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.errors import UserError
from ..runtime.processes import random_rows
from .adversarial import AdversarialTraining
from .checkpoint import GeneratorInfo
from .differentiable_augmentation import augment
from .image_store import ImageStore
from .losses import gradient_penalty, relativistic_loss
from .networks.light import Discriminator, Generator, with_detail
from .sampling import sample


@dataclass(frozen=True)
class LightRecipe:
    """What an optimisation step needs to know beside the networks.

    Attributes:
        classes: the names of the classes, in the order of their numbers; "" is the class of eyes with several labels.
        batch_size: real and generated images of one step, a multiple of 4.
        learning_rate: of both networks (Adam, betas 0 and 0.99).
        width: channels of the networks' layers next to the image.
        policy: parts of the differentiable augmentation.
        penalty: weight of the gradient penalties R1 and R2 (gamma of R3GAN).
        penalty_every: steps between penalties, which then weigh so much more ("lazy" regularisation of StyleGAN2).
        mirror: show every other real image mirrored, as the patient's other eye.
        average_images: half-life of the generator's moving average, in images.
    """

    classes: tuple[str, ...]
    batch_size: int = 16
    learning_rate: float = 4e-4
    width: int = 32
    policy: tuple[str, ...] = ("color", "translation")
    penalty: float = 1.0
    penalty_every: int = 8
    mirror: bool = True
    average_images: int = 10_000


class LightTraining(AdversarialTraining):
    """The relativistic game with gradient penalties (Huang et al. 2024, R3GAN), by class.

    Args:
        generator, discriminator: as in `networks.light`, for as many classes as the recipe names.
        images: the real images.
        labels: the class number of each image.
        recipe: how.
        seed: of everything random.
    """

    def __init__(
        self, generator: Generator, discriminator: Discriminator, images: ImageStore, labels: np.ndarray, recipe: LightRecipe,
        seed: int,
    ):  # fmt: skip
        super().__init__(generator, discriminator, images, recipe, seed)
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for each network."""
        options = {"lr": self.recipe.learning_rate, "betas": (0.0, 0.99)}
        return [torch.optim.Adam(net.parameters(), **options) for net in (self.generator, self.discriminator)]

    def training_step(self, step: int) -> None:
        """Step number `step`: the discriminator, then the generator against it, then the average."""
        self.begin_step(step)
        generator_optimizer, discriminator_optimizer = self.optimizers()
        self.set_learning_rate(self.recipe.learning_rate * float(self.pace))
        real, classes = self.real_batch(step), self.class_batch(step)
        fake = self.generator(random_rows(torch.randn, len(real), self.generator.latent, device=real.device), classes)

        seen_real, seen_fake = self.seen(real), self.seen(fake.detach())
        d_loss, real_scores, fake_scores = self.discriminator_loss(step, seen_real, seen_fake, classes)
        self.take_step(discriminator_optimizer, d_loss)

        # Its own weights need no gradient here: that saves a quarter of the step.
        self.discriminator.requires_grad_(False)
        # The real images' scores are those from before the discriminator's step: asking again costs more than it gives.
        g_loss = relativistic_loss(self.discriminator.judge(self.seen(fake), classes), real_scores)
        self.take_step(generator_optimizer, g_loss)
        self.discriminator.requires_grad_(True)

        self.update_averages(step)
        self.end_step(
            step, d_loss=d_loss, g_loss=g_loss, real_score=real_scores.mean(), fake_score=fake_scores.mean(),
            real_side=(real_scores > fake_scores).float().mean(),
        )  # fmt: skip

    def discriminator_loss(
        self, step: int, real: Tensor, fake: Tensor, classes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The discriminator's loss, in every eighth step with its penalties, and the scores of both kinds of images."""
        penalized = step % self.recipe.penalty_every == 0
        if penalized:
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        real_scores, fake_scores = (self.discriminator.judge(seen, classes) for seen in (real, fake))
        loss = relativistic_loss(real_scores, fake_scores)
        if penalized:
            weight = self.recipe.penalty_every * self.recipe.penalty / 2
            loss = loss + weight * (gradient_penalty(real_scores, real) + gradient_penalty(fake_scores, fake))
        return loss, real_scores.detach(), fake_scores.detach()

    def seen(self, images: Tensor) -> Tensor:
        """What the discriminator sees of images: augmented, with their fine detail; float (B, 6, size, size)."""
        return with_detail(augment(images, self.recipe.policy, self.disguise))

    def class_batch(self, step: int) -> Tensor:
        """The class numbers of `real_batch`, int64 (B,)."""
        return self.labels[self.own_batch(step, len(self.images))].to(self.device)

    def pictures(self, count: int) -> np.ndarray:
        """Images of the averaged generator from seeds 0, 1, 2, ..., the classes as frequent as among the real ones."""
        spread = torch.linspace(0, len(self.labels) - 1, count).round().long()
        classes = self.labels.sort().values[spread] if len(self.recipe.classes) > 1 else None
        return sample(self.average, list(range(count)), classes=classes)

    def start_from(
        self, generator: nn.Module, weights: dict[str, Tensor], info: GeneratorInfo, label: str, path: Path
    ) -> None:
        """As `AdversarialTraining.start_from`; a generator of several classes, a shared start, gives the one asked for."""
        theirs = tuple(info.recipe.get("classes", (info.label,)))
        if len(theirs) > 1 and theirs != self.recipe.classes:
            if label not in theirs:
                raise UserError(f"has not learnt {label!r}; it knows {', '.join(filter(None, theirs))}", path=path)
            discriminator = Discriminator(generator.size, generator.width, len(theirs))
            discriminator.load_state_dict(weights)
            generator = generator.of_class(theirs.index(label))
            weights = discriminator.of_class(theirs.index(label)).state_dict()
        super().start_from(generator, weights, info, label, path)
