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
from .losses import hinge_loss, mean_score
from .networks.light import Generator
from .networks.projected import Discriminator
from .projection import Projection
from .sampling import sample


@dataclass(frozen=True)
class LightRecipe:
    """What an optimisation step needs to know beside the networks.

    Attributes:
        classes: the names of the classes, in the order of their numbers; "" is the class of eyes with several labels.
        projection: the frozen network that the discriminator looks through.
        batch_size: real and generated images of one step.
        learning_rate: of both networks (Adam, betas 0 and 0.99).
        width: channels of the generator's layers next to the image.
        policy: parts of the differentiable augmentation.
        mirror: show every other real image mirrored, as the patient's other eye.
        average_images: half-life of the generator's moving average, in images.
    """

    classes: tuple[str, ...]
    projection: str = "landmarks"
    batch_size: int = 16
    learning_rate: float = 5e-4
    width: int = 32
    policy: tuple[str, ...] = ("color", "translation")
    mirror: bool = True
    average_images: int = 10_000


class LightTraining(AdversarialTraining):
    """The hinge game (Lim and Ye 2017) on the feature maps of a frozen network, by class: see `networks.projected`.

    Args:
        generator, discriminator: as in `networks.light` and `networks.projected`, for as many classes as the recipe names.
        projection: the frozen network; it is not part of the saved state.
        images: the real images.
        labels: the class number of each image.
        recipe: how.
        seed: of everything random.
    """

    def __init__(
        self, generator: Generator, discriminator: Discriminator, projection: Projection, images: ImageStore,
        labels: np.ndarray, recipe: LightRecipe, seed: int,
    ):  # fmt: skip
        super().__init__(generator, discriminator, images, recipe, seed)
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        # In a list, so that it is no module of this one: it never changes and need not be saved with every state.
        self._projection = [projection]

    def on_fit_start(self) -> None:
        """Bring the images, where they fit, and the frozen network to the device."""
        super().on_fit_start()
        self._projection[0].to(self.device)

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

        with torch.no_grad():
            seen_real = self.seen(real)
        # Most of the step: the frozen network looks at the generated images once, for both players.
        seen_fake = self.seen(fake)
        real_scores = self.discriminator(seen_real, classes)
        fake_scores = self.discriminator([features.detach() for features in seen_fake], classes)
        d_loss = hinge_loss(real_scores, fake_scores)
        self.take_step(discriminator_optimizer, d_loss)

        # Its own weights need no gradient here: that saves a part of the step.
        self.discriminator.requires_grad_(False)
        g_loss = -mean_score(self.discriminator(seen_fake, classes))
        self.take_step(generator_optimizer, g_loss)
        self.discriminator.requires_grad_(True)

        self.update_averages(step)
        self.end_step(
            step, d_loss=d_loss, g_loss=g_loss, real_score=mean_score(real_scores), fake_score=mean_score(fake_scores),
            real_side=torch.stack([(scores > 0).float().mean() for scores in real_scores]).mean(),
        )  # fmt: skip

    def seen(self, images: Tensor) -> list[Tensor]:
        """What the discriminator sees of images: the mixed feature maps of their augmented copies."""
        augmented = augment(images, self.recipe.policy, self.disguise)
        return self.discriminator.mix(self._projection[0](augmented.contiguous(memory_format=torch.channels_last)))

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
        """As `AdversarialTraining.start_from`; a generator of several classes, a shared start, gives the one asked for.

        Raises:
            UserError: as there, or its discriminator looked through another network than this one.
        """
        theirs = tuple(info.recipe.get("classes", (info.label,)))
        looked_through = info.recipe.get("projection", self.recipe.projection)
        if looked_through != self.recipe.projection:
            raise UserError(
                f"learnt through {looked_through}; this training looks through {self.recipe.projection}", path=path,
                hint="Give both the same --projection and --projection-weights.",
            )  # fmt: skip
        if len(theirs) > 1 and theirs != self.recipe.classes:
            if label not in theirs:
                raise UserError(f"has not learnt {label!r}; it knows {', '.join(filter(None, theirs))}", path=path)
            discriminator = Discriminator(self.discriminator.shapes, len(theirs))
            discriminator.load_state_dict(weights)
            generator = generator.of_class(theirs.index(label))
            weights = discriminator.of_class(theirs.index(label)).state_dict()
        super().start_from(generator, weights, info, label, path)
