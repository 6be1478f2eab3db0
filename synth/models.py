"""The models that can be trained, by name: which networks, which recipe, how long, and what they need beside the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..runtime.errors import UserError
from .adversarial import PLAIN, AdversarialTraining, Recipe
from .cycle_training import CycleRecipe, CycleTraining
from .differentiable_augmentation import choose_policy
from .generator_training import GeneratorTraining
from .held_back import ALL_CLASSES
from .image_store import ImageStore, field_of_view
from .light_training import LightRecipe, LightTraining
from .networks import dcgan, light, projected
from .projection import projection

SIZES = (16, 32, 64, 128, 256, 512)
LATENT = 100


@dataclass(frozen=True)
class Wanted:
    """What a model is asked to learn.

    Attributes:
        training: the real images.
        label: the class, or ALL_CLASSES.
        classes: every class of the dataset, for what augmentation may do to colours.
        size: pixels, one of SIZES.
        batch_size: real images a step; None for the model's own.
        augment: a policy as in `choose_policy`.
        seed: of everything random.
        source: real images to translate, for a model that translates.
        source_label: their class.
        projection, projection_weights: what the judge of a light generator looks through, as in `projection.projection`.
    """

    training: FundusDataset
    label: str
    classes: tuple[str, ...]
    size: int
    batch_size: int | None
    augment: str
    seed: int
    source: FundusDataset | None = None
    source_label: str = ""
    projection: str = "auto"
    projection_weights: str | None = None


@dataclass(frozen=True)
class Model:
    """One entry of MODELS.

    Attributes:
        make: networks with their first weights, and the images.
        steps: optimisation steps by default, after a shared start where there is one.
        steps_alone: the same without a shared start.
        shares_start: first learns all classes, then is specialised to one.
        shared_steps: how many steps the shared start takes by default.
        translates: makes pictures of given eyes of another class.
        gains_by_bf16: is faster in bfloat16 on processors that have it.
    """

    make: Callable[[Wanted], GeneratorTraining]
    steps: int
    steps_alone: int
    shares_start: bool = False
    shared_steps: int = 0
    translates: bool = False
    gains_by_bf16: bool = True


def model_named(name: str) -> Model:
    """The model called `name`.

    Raises:
        UserError: there is none.
    """
    if name not in MODELS:
        raise UserError(f"--model {name} is not known", hint=f"Use {' or '.join(MODELS)}.")
    return MODELS[name]


def default_model(projection_weights: object | None) -> str:
    """What is trained where the user names no model: `light` needs a network to be judged through, or it is the worse."""
    return "dcgan" if projection_weights is None else "light"


def make_dcgan(wanted: Wanted) -> AdversarialTraining:
    """DCGAN: with augmentation, a moving average and a black surround, or with `augment="none"` as study E published it."""
    policy = choose_policy(wanted.augment, wanted.classes)
    recipe = Recipe(policy=policy) if policy else PLAIN
    if wanted.batch_size is not None:
        recipe = replace(recipe, batch_size=wanted.batch_size)
    images = ImageStore(image_cache(wanted.training, wanted.size))
    torch.manual_seed(wanted.seed)
    generator = dcgan.Generator(wanted.size, LATENT, recipe.width)
    discriminator = dcgan.Discriminator(wanted.size, recipe.width)
    if recipe.black_surround:
        generator.field_of_view.copy_(field_of_view(images.pixels, recipe.mirror))
    networks = (network.to(memory_format=torch.channels_last) for network in (generator, discriminator))
    return AdversarialTraining(*networks, images, recipe, wanted.seed)


def make_light(wanted: Wanted) -> LightTraining:
    """The light generator of one class, or of every class at once: its shared start."""
    labels = wanted.training.column("label")
    names = tuple(sorted(set(labels))) if wanted.label == ALL_CLASSES else (wanted.label,)
    numbers = np.array([names.index(label) for label in labels]) if len(names) > 1 else np.zeros(len(labels), np.int64)
    looking_through = projection(wanted.projection, wanted.projection_weights, wanted.size)
    recipe = LightRecipe(
        classes=names, projection=looking_through.name, policy=choose_policy(wanted.augment, wanted.classes)
    )
    if wanted.batch_size is not None:
        recipe = replace(recipe, batch_size=wanted.batch_size)
    images = ImageStore(image_cache(wanted.training, wanted.size))
    torch.manual_seed(wanted.seed)
    generator = light.Generator(wanted.size, LATENT, recipe.width, len(names))
    discriminator = projected.Discriminator(looking_through.shapes, len(names))
    generator.field_of_view.copy_(field_of_view(images.pixels, recipe.mirror))
    generator.start_from(images.pixels, recipe.mirror)
    networks = (network.to(memory_format=torch.channels_last) for network in (generator, discriminator))
    return LightTraining(*networks, looking_through, images, numbers, recipe, wanted.seed)


def make_cyclegan(wanted: Wanted) -> CycleTraining:
    """CycleGAN between `wanted.source` and the class."""
    recipe = CycleRecipe(source_label=wanted.source_label, policy=choose_policy(wanted.augment, wanted.classes))
    if wanted.batch_size is not None:
        recipe = replace(recipe, batch_size=wanted.batch_size)
    source, target = (image_cache(part, wanted.size) for part in (wanted.source, wanted.training))
    return CycleTraining(source, target, recipe, wanted.seed)


def plain_values(recipe: object) -> dict:
    """A recipe's options as JSON-able values."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


MODELS = {
    "dcgan": Model(make_dcgan, steps=4000, steps_alone=8000, shares_start=True, shared_steps=16_000),
    "light": Model(make_light, steps=2000, steps_alone=6000, shares_start=True, shared_steps=8000),
    "cyclegan": Model(make_cyclegan, steps=3000, steps_alone=3000, translates=True, gains_by_bf16=False),
}
