"""Train a generator for one class.

    fundus-synth train --data DATASET --class hypertension --minutes 10
    fundus-synth train --data DATASET --class hypertension --minutes 20 --out RUN --resume
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..data.schema import patient_hash
from ..runtime.devices import choose_device, choose_precision
from ..runtime.errors import UserError, counts
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder, default_run_path, latest_run_path
from ..version import __version__
from .adversarial import AdversarialTraining, Recipe, field_of_view
from .checkpoint import GeneratorInfo
from .differentiable_augmentation import choose_policy
from .networks import NETWORKS
from .recording import Recorder
from .training_state import read_state, restore_networks

FEWEST_IMAGES = 8
_LATENT = 100
_WIDTH = 32
_STEPS = 7500
_ENDLESS = 10**9


def train(
    dataset: FundusDataset,
    label: str,
    *,
    model: str = "dcgan",
    size: int = 64,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = 32,
    seed: int = 0,
    augment: str = "auto",
    out: Path | str | None = None,
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    quiet: bool = False,
    save_every: int = 250,
) -> RunFolder:
    """Train a generator on the images of one class (of the train split, where the dataset has one).

    On a CPU with the same number of threads a resumed run ends with the same bytes as an unbroken one.

    Args:
        label: the class; its images need not have patients, but then leaks can only be found by image.
        model: a key of NETWORKS.
        size: pixels, a power of two from 16 up.
        steps: optimisation steps in all; 7500 unless `minutes` is given (64 px: about ten minutes on two cores).
        minutes: stop after this long.
        augment: a policy as in `choose_policy`; "none" trains on the bare images, neither augmented nor mirrored.
        out: the run folder; runs/train-<time>-<label> by default, the newest such when resuming.
        resume: continue what is in the run folder.
        save_every: steps between checkpoints and sample sheets.

    Returns:
        the run: checkpoints/generator.safetensors and .json, samples/step_*.png and training.gif, metrics.csv and a
        TensorBoard log in tensorboard/.

    Raises:
        UserError: no such class or fewer than 8 images of it, bad options, or a run that these options do not continue.
        JobError: a loss became infinite or not a number.
    """
    where, dtype = choose_device(device), precision_for(precision, choose_device(device))
    photographs, notes = training_photographs(dataset, label)
    recipe = make_recipe(dataset, batch_size, augment)
    config = {
        "label": label, "model": model, "size": size, "steps": steps, "minutes": minutes, "seed": seed,
        **_plain(recipe), "width": _WIDTH, "latent": _LATENT, "device": where.type, "precision": str(dtype)[6:],
        "data": str(dataset.path), "fingerprint": photographs.fingerprint, "save_every": save_every,
    }  # fmt: skip
    training = make_training(photographs, recipe, model, size, seed)
    path = out or (latest_run_path("train", label) if resume else default_run_path("train", label))
    run = RunFolder.open_or_create(path, config, resume)
    state = read_state(run.checkpoints) if resume else None
    if state is not None:
        restore_networks(training, state)
    run.truncate_metrics(training.steps_done)
    info = describe(photographs, dataset, label, training)
    if steps is None:
        steps = _STEPS if minutes is None else _ENDLESS
    start = training.steps_done
    with Progress(steps * batch_size, f"training {label}", quiet=quiet, start=start * batch_size) as progress:
        for note in notes:
            progress.note(note)
        if start < steps:
            recorder = Recorder(run, info, state, progress, save_every, minutes)
            trainer = _trainer(run, where, dtype, start, recorder)
            with warnings.catch_warnings():
                # Lightning warns that the average is in evaluation mode, where it belongs.
                warnings.filterwarnings("ignore", module="pytorch_lightning")
                trainer.fit(training, train_dataloaders=range(start, steps))
    return run


def train_job(
    data: str, label: str, out: str, patients: list[str] | None = None, **options: object
) -> dict[str, str]:
    """`train` with plain arguments, for job lists; continues the run in `out` if there is one.

    Args:
        data: a dataset folder.
        patients: train on these patients' images only (whatever the split column says); None for `train`'s choice.
        options: more arguments of `train`.

    Returns:
        {"run": the run folder}.
    """
    dataset = FundusDataset.open(data)
    if patients is not None:
        chosen = dataset.column("patient_id").isin(patients)
        dataset = dataset.subset(chosen).with_split(["train"] * int(chosen.sum()))
    run = train(dataset, label, out=out, resume=Path(out).exists(), **options)
    return {"run": str(run.path)}


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
        UserError: an unknown augmentation, or a batch of fewer than 2 images (batch norm needs two).
    """
    if batch_size < 2:
        raise UserError(f"--batch-size is {batch_size}; expected at least 2")
    policy = choose_policy(augment, dataset.class_counts())
    return Recipe(batch_size=batch_size, policy=policy, mirror=bool(policy))


def make_training(photographs: FundusDataset, recipe: Recipe, model: str, size: int, seed: int) -> AdversarialTraining:
    """Networks with their first weights, and the images.

    Raises:
        UserError: an unknown model or size, or an unreadable image.
    """
    if model not in NETWORKS:
        raise UserError(f"--model {model} is not known", hint=f"Use {' or '.join(NETWORKS)}.")
    if size < 16 or size & (size - 1):
        raise UserError(f"--size is {size}; expected 16, 32, 64, 128, 256 or 512")
    pixels = torch.from_numpy(np.array(image_cache(photographs, size))).permute(0, 3, 1, 2).contiguous()
    torch.manual_seed(seed)
    make_generator, make_discriminator = NETWORKS[model]
    generator = make_generator(size=size, latent=_LATENT, width=_WIDTH).to(memory_format=torch.channels_last)
    discriminator = make_discriminator(size=size, width=_WIDTH).to(memory_format=torch.channels_last)
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
        trained_on_patients=sorted(map(patient_hash, photographs.patients)),
        trained_on_images=sorted(photographs.image_digests),
        steps=training.steps_done,
        seed=training.seed,
        recipe=_plain(training.recipe),
        toolkit=f"fundus-synth {__version__}",
    )


def precision_for(name: str, device: torch.device) -> torch.dtype:
    """As `choose_precision`, but "auto" is bfloat16 too on processors that multiply it in hardware (measured 1.5 x)."""
    if name == "auto" and device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return choose_precision(name, device)


def _trainer(run: RunFolder, device: torch.device, dtype: torch.dtype, start: int, recorder: Recorder) -> Trainer:
    # Lightning announces devices and tips at INFO; the run folder and the progress bar say what matters.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logger = TensorBoardLogger(run.path, name="tensorboard", version="", purge_step=start)
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=1 if device.index is None else [device.index],
        precision="bf16-mixed" if dtype == torch.bfloat16 else "32-true",
        max_epochs=1,
        logger=logger,
        callbacks=[recorder],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _plain(recipe: Recipe) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
