"""Train a generator for one class.

fundus-synth train --data DATASET --class hypertension --out RUN
fundus-synth train --data DATASET --class hypertension --out RUN --steps 12000 --resume
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..runtime.devices import choose_device, choose_precision, multiplies_bf16
from ..runtime.errors import UserError, counts
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder, default_run_path, latest_run_path
from ..runtime.training import run_steps
from ..version import __version__
from .adversarial import PLAIN, AdversarialTraining, Recipe, field_of_view
from .checkpoint import GeneratorInfo, slug
from .differentiable_augmentation import choose_policy
from .networks import NETWORKS
from .recording import Recorder
from .training_state import read_training, restore_networks, start_from_run

SIZES = (16, 32, 64, 128, 256, 512)
FEWEST_IMAGES = 8
LATENT = 100
STEPS = 8000
_ENDLESS = 10**9


def train(
    dataset: FundusDataset,
    label: str,
    *,
    model: str = "dcgan",
    size: int = 64,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    augment: str = "auto",
    out: Path | str | None = None,
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    quiet: bool = False,
    start_from: Path | str | None = None,
    save_every: int = 250,
) -> RunFolder:
    """Train a generator on the images of one class (of the train split, where the dataset has one).

    On a CPU with the same number of threads a resumed run ends with the same bytes as an unbroken one.

    Args:
        label: the class; its images need not have patients, but then leaks can only be found by image.
        model: a key of NETWORKS.
        size: pixels, a power of two from 16 up.
        steps: optimisation steps in all; 8000 unless `minutes` is given (64 px: about ten minutes on two cores).
        minutes: stop after this long.
        batch_size: real images of one step; 32 by default.
        augment: a policy as in `choose_policy`; "none" is the study's DCGAN: wide, slower, nothing added (`PLAIN`).
        out: the run folder; runs/train-<time>-<label> by default, the newest such when resuming.
        resume: continue what is in the run folder.
        start_from: run folder of another class (same model and size) whose networks to begin with.
        save_every: steps between checkpoints and sample sheets.

    Returns:
        the run: checkpoints/generator.safetensors and .json, samples/step_*.png and training.gif, metrics.csv and a
        TensorBoard log in tensorboard/.

    Raises:
        UserError: no such class or fewer than 8 images of it, bad options, or a run that these options do not continue.
        JobError: a loss became infinite or not a number.
    """
    where = choose_device(device)
    # The convolutions here gain a half from bfloat16 where the processor has it; other networks may lose by it.
    fast = precision == "auto" and multiplies_bf16(where)
    dtype = choose_precision("bf16" if fast else precision, where)
    batch_size = Recipe.batch_size if batch_size is None else batch_size
    check_options(model, size, steps, batch_size)
    photographs, notes = training_photographs(dataset, label)
    recipe = make_recipe(dataset, batch_size, augment)
    config = {
        "data": str(dataset.path.resolve()), "fingerprint": photographs.fingerprint, "label": label, "model": model,
        "size": size, "latent": LATENT, "steps": steps, "minutes": minutes, "seed": seed,
        **_plain(recipe), "device": where.type, "precision": str(dtype), "save_every": save_every,
        "start_from": start_from and str(start_from),
    }  # fmt: skip
    training = make_training(photographs, recipe, model, size, seed)
    info = describe(photographs, dataset, label, training)
    if start_from is not None:
        info = with_ancestor(info, start_from_run(training, Path(start_from)))
    path = (latest_run_path if resume else default_run_path)("train", slug(label)) if out is None else out
    run = RunFolder.open_or_create(path, config, resume)
    state = read_training(run.path) if resume else None
    if state is not None:
        restore_networks(training, state)
    run.truncate_metrics(training.steps_done)
    if steps is None:
        steps = STEPS if minutes is None else _ENDLESS
    seen, total = training.steps_done * batch_size, steps * batch_size
    with Progress(total, f"training {label}", quiet=quiet, start=seen) as progress:
        for note in notes:
            progress.note(note)
        first = training.steps_done
        logger = TensorBoardLogger(run.path, name="tensorboard", version="", purge_step=first)
        recorder = Recorder(run, info, state, progress, save_every, minutes)
        run_steps(training, range(first, steps), recorder, where, dtype, logger)
    return run


def check_options(model: str, size: int, steps: int | None, batch_size: int) -> None:
    """Raise UserError unless these options of `train` make sense."""
    if model not in NETWORKS:
        raise UserError(f"--model {model} is not known", hint=f"Use {' or '.join(NETWORKS)}.")
    if size not in SIZES:
        raise UserError(f"--size is {size}; expected one of {', '.join(map(str, SIZES))}")
    if steps is not None and steps < 1:
        raise UserError(f"--steps is {steps}; expected at least 1")
    if batch_size < 2:
        raise UserError(f"--batch-size is {batch_size}; expected at least 2, for batch norm")


def training_photographs(dataset: FundusDataset, label: str) -> tuple[FundusDataset, list[str]]:
    """The images to train on and what the user should know about the choice.

    Raises:
        UserError: no such class, or fewer than 8 images.
    """
    of_class = dataset.of_class(label)
    split = of_class.column("split") != ""
    chosen = of_class.split("train") if split.any() else of_class
    which = "of the train split" if split.any() else "(all of the class: the dataset has no split)"
    notes = [f"training on {len(chosen)} {label} images of {len(chosen.patients)} patients {which}"]
    if len(chosen) < FEWEST_IMAGES:
        raise UserError(
            f"has {len(chosen)} {label} images {which}; expected at least {FEWEST_IMAGES}. "
            f"Its classes are {counts(dataset.class_counts())}",
            path=dataset.path,
        )
    if (chosen.column("patient_id") == "").any():
        notes.append("some images have no patient_id: leaks into a classifier's test set can only be found by image")
    return chosen, notes


def make_recipe(dataset: FundusDataset, batch_size: int, augment: str) -> Recipe:
    """The recipe for one class of `dataset`.

    Raises:
        UserError: an unknown augmentation.
    """
    policy = choose_policy(augment, dataset.class_counts())
    return replace(Recipe(policy=policy) if policy else PLAIN, batch_size=batch_size)


def make_training(photographs: FundusDataset, recipe: Recipe, model: str, size: int, seed: int) -> AdversarialTraining:
    """Networks with their first weights, and the images.

    Raises:
        UserError: an unreadable image.
    """
    pixels = torch.from_numpy(np.array(image_cache(photographs, size))).permute(0, 3, 1, 2).contiguous()
    torch.manual_seed(seed)
    make_generator, make_discriminator = NETWORKS[model]
    generator = make_generator(size=size, latent=LATENT, width=recipe.width).to(memory_format=torch.channels_last)
    discriminator = make_discriminator(size=size, width=recipe.width).to(memory_format=torch.channels_last)
    if recipe.black_surround:
        generator.field_of_view.copy_(field_of_view(pixels, recipe.mirror))
    return AdversarialTraining(generator, discriminator, pixels, recipe, seed)


def describe(
    photographs: FundusDataset, dataset: FundusDataset, label: str, training: AdversarialTraining
) -> GeneratorInfo:
    """What generator.json will say, but for the steps."""
    known = {"licence": dataset.info.get("licence", ""), "fingerprint": dataset.fingerprint}
    return GeneratorInfo(
        label=label,
        architecture=training.generator.architecture,
        dataset={"name": dataset.name, **known},
        images=len(photographs),
        patients=len(photographs.patients),
        trained_on_patients=photographs.patient_hashes,
        trained_on_images=sorted(photographs.image_digests),
        steps=training.steps_done,
        seed=training.seed,
        recipe=_plain(training.recipe),
        toolkit=f"fundus-synth {__version__}",
    )


def with_ancestor(info: GeneratorInfo, ancestor: GeneratorInfo) -> GeneratorInfo:
    """`info` with the patients and images added that the generator it starts from has seen."""
    patients = {*info.trained_on_patients, *ancestor.trained_on_patients}
    images = {*info.trained_on_images, *ancestor.trained_on_images}
    return replace(info, trained_on_patients=sorted(patients), trained_on_images=sorted(images))


def _plain(recipe: Recipe) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
