"""Adversarial training of one generator: what one step does, and nothing of files or progress.

Everything random in step k (which images, latents, augmentation) is drawn from a seed made of the run's seed and k, so
the step counter is the whole random state: a run continued from a saved step is the run that was never interrupted.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from .differentiable_augmentation import augment
from .losses import discriminator_loss, generator_loss


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


class AdversarialTraining(LightningModule):
    """A generator and a discriminator, optimised in turn, and the moving average of the generator that is kept.

    Its "batches" are step numbers: the images are few enough to live on the device as uint8 and are drawn there.

    Args:
        generator, discriminator: networks as in `networks.dcgan`.
        images: uint8 (n, 3, size, size) real images.
        recipe: how.
        seed: of everything random.

    Attributes:
        average: the moving average of the generator, in evaluation mode.
        steps_done: how many steps the weights have seen.
        figures: detached scalars of the last step: d_loss, g_loss, real_score, fake_score.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, images: Tensor, recipe: Recipe, seed: int):
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = generator, discriminator
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.register_buffer("images", images, persistent=False)
        self.recipe, self.seed = recipe, seed
        self.steps_done = 0
        self.figures: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> AdversarialTraining:
        """Switch the two players between training and evaluation mode; the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for each network."""
        options = {"lr": self.recipe.learning_rate, "betas": (0.5, 0.999)}
        networks = (self.generator, self.discriminator)
        return [torch.optim.Adam(network.parameters(), **options) for network in networks]

    def training_step(self, step: int) -> None:
        """Step number `step`: the discriminator, then the generator on the same fakes, then the average."""
        torch.manual_seed(seed_of(self.seed, step))
        generator_optimizer, discriminator_optimizer = self.optimizers()
        real = self.real_batch(step)
        fake = self.generator(torch.randn(len(real), self.generator.latent, device=real.device))

        real_scores, fake_scores = self.scores(real), self.scores(fake.detach())
        d_loss = discriminator_loss(real_scores, fake_scores)
        discriminator_optimizer.zero_grad()
        self.manual_backward(d_loss)
        discriminator_optimizer.step()

        # Its own weights need no gradient here: that saves a quarter of the step.
        self.discriminator.requires_grad_(False)
        g_loss = generator_loss(self.scores(fake))
        generator_optimizer.zero_grad()
        self.manual_backward(g_loss)
        generator_optimizer.step()
        self.discriminator.requires_grad_(True)

        self.steps_done = step + 1
        update_average(self.average, self.generator, self.average_decay(step))
        self.figures = {
            "d_loss": d_loss.detach(), "g_loss": g_loss.detach(),
            "real_score": real_scores.detach().mean(), "fake_score": fake_scores.detach().mean(),
        }  # fmt: skip

    def real_batch(self, step: int) -> Tensor:
        """The real images of step `step`: float (batch_size, 3, size, size) in -1..1, mirrored by the recipe."""
        chosen = batch_indices(step, self.recipe.batch_size, len(self.images), self.seed)
        real = self.images[chosen.to(self.images.device)].float() / 127.5 - 1
        if self.recipe.mirror:
            mirrored = torch.rand(len(real), 1, 1, 1, device=real.device) < 0.5
            real = torch.where(mirrored, real.flip(3), real)
        return real.contiguous(memory_format=torch.channels_last)

    def scores(self, images: Tensor) -> Tensor:
        """The discriminator's scores (B,) of freshly augmented images."""
        return self.discriminator(augment(images, self.recipe.policy))

    def average_decay(self, step: int) -> float:
        """Decay of the moving average: the recipe's half-life, shorter at first so that early weights are forgotten."""
        if self.recipe.average_images == 0:
            return 0.0
        decay = 0.5 ** (self.recipe.batch_size / self.recipe.average_images)
        return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * network, for weights and batch-norm statistics; counters are copied."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def batch_indices(step: int, batch_size: int, count: int, seed: int) -> Tensor:
    """Which of `count` images step `step` shows: int64 (batch_size,).

    The steps walk through one endless stream of shuffled passes over the images, so every image is seen equally often.
    """
    first = step * batch_size
    passes = range(first // count, (first + batch_size - 1) // count + 1)
    stream = torch.cat([_shuffled_pass(number, count, seed) for number in passes])
    start = first - passes[0] * count
    return stream[start : start + batch_size]


def seed_of(seed: int, *numbers: int | str) -> int:
    """A seed that depends on all its arguments: 48 bits, which every table reader keeps exactly."""
    digest = hashlib.sha256(repr((seed, *numbers)).encode()).digest()
    return int.from_bytes(digest[:6], "little")


def field_of_view(images: Tensor, mirror: bool = False) -> Tensor:
    """The pixels that are lit in at least one of twenty images: float (1, 1, size, size) of 0 and 1.

    Args:
        images: uint8 (n, 3, size, size).
        mirror: make it symmetric, for generators that see mirrored images.
    """
    lit = (images.amax(1, keepdim=True) > _DARK).float().mean(0, keepdim=True) >= _SHARE_LIT
    return (lit | lit.flip(3) if mirror else lit).float()


# JPEG leaves up to about this much light in the black surround; a twentieth lets single badly cropped images pass.
_DARK = 12
_SHARE_LIT = 0.05


def _shuffled_pass(number: int, count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed_of(seed, "pass", number))
    return torch.randperm(count, generator=random)
