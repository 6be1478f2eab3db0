"""Sampling: a trained generator makes a dataset folder, every image reproducible from its own seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from ..version import __version__
from .adversarial import seed_of
from .checkpoint import GeneratorInfo, load_generator, slug

# Convolutions of another batch size may sum in another order, so the network always sees exactly this many images.
_NETWORK_BATCH = 16
NOT_A_PATIENT = "Synthetic fundus image, not a photograph of a patient"


def generate(
    run: Path | str, count: int, out: Path | str, seed: int = 0, batch_size: int = 64, device: str = "cpu",
    quiet: bool = False,
) -> FundusDataset:  # fmt: skip
    """Make `count` images with the generator in `run` and write them as the dataset folder `out`.

    Image i depends on `seed` and i alone: it is the same for any `count` and `batch_size`. Its own seed, from which
    `sample` makes it again, is in metadata.csv and in the file.

    Args:
        run: a run folder of `train`, or a folder with generator.safetensors and generator.json.
        batch_size: images made before they are written; rounded up to a multiple of 16.
        device: where to compute; other devices round differently, so pixels may differ by one from the CPU's.

    Returns:
        the new dataset: synthetic, without patients, its dataset.json naming the patients (hashed) of the training.

    Raises:
        UserError: no usable generator in `run`, `out` exists, or `count` is not positive.
    """
    if count < 1:
        raise UserError(f"--count is {count}; expected at least 1")
    generator, info = load_generator(run)
    generator.to(choose_device(device))
    rounds = math.ceil(batch_size / _NETWORK_BATCH) * _NETWORK_BATCH
    writer = DatasetWriter(out, dataset_info(info, count, seed))
    with writer, Progress(count, f"generating {info.label}", quiet=quiet) as progress:
        for first in range(0, count, rounds):
            indices = range(first, min(first + rounds, count))
            seeds = [seed_of(seed, index) for index in indices]
            for index, image_seed, image in zip(indices, seeds, sample(generator, seeds), strict=True):
                row, text = describe_image(info, index, image_seed)
                writer.add(row, image, png_text=text)
            progress.advance(len(seeds))
    return FundusDataset.open(out)


def sample(generator: nn.Module, seeds: list[int]) -> np.ndarray:
    """One image a seed: uint8 (len(seeds), size, size, 3) RGB, whatever else is in the list.

    The generator is used as it is, in evaluation mode, on its own device.
    """
    latents = torch.stack([latent_of(seed, generator.latent) for seed in seeds])
    missing = -len(seeds) % _NETWORK_BATCH
    latents = torch.cat([latents, latents.new_zeros(missing, generator.latent)])
    device = next(generator.parameters()).device
    with torch.inference_mode():
        images = [to_pixels(generator(part.to(device))) for part in latents.split(_NETWORK_BATCH)]
    return np.concatenate(images)[: len(seeds)]


def latent_of(seed: int, length: int) -> Tensor:
    """The latent vector (length,) of one seed: standard normal, from a generator of its own."""
    return torch.randn(length, generator=torch.Generator().manual_seed(seed))


def to_pixels(images: Tensor) -> np.ndarray:
    """float (B, 3, H, W) in -1..1 -> uint8 (B, H, W, 3)."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def describe_image(info: GeneratorInfo, index: int, seed: int) -> tuple[dict, dict[str, str]]:
    """The metadata.csv row and the PNG text chunks of image `index`, made from `seed`."""
    row = {
        "file_name": f"images/{slug(info.label)}_{index:06d}.png",
        "label": info.label,
        "source": f"synthetic:{info.dataset.get('name', 'unknown')}",
        "synthetic": "true",
        "generator": info.name,
        "seed": str(seed),
    }
    text = {
        "Software": f"fundus-synth {__version__}",
        "Description": NOT_A_PATIENT,
        "fundus-synth:generator": info.name,
        "fundus-synth:seed": str(seed),
        "fundus-synth:class": info.label,
    }
    return row, text


def dataset_info(info: GeneratorInfo, count: int, seed: int) -> dict:
    """dataset.json of a generated dataset."""
    return {
        "name": f"{info.name} seed {seed}",
        "licence": info.dataset.get("licence") or "unknown",
        "source": f"synthetic:{info.dataset.get('name', 'unknown')}",
        "description": NOT_A_PATIENT,
        "classes": [info.label],
        "image_size": info.architecture["size"],
        "synthetic": True,
        "made_by": {"command": "fundus-synth generate", "count": count, "seed": seed, "toolkit": __version__},
        "parent": info.dataset,
        "generator": {"name": info.name, "weights_sha256": info.weights_sha256, "steps": info.steps},
        "trained_on_patients": info.trained_on_patients,
        "trained_on_images": info.trained_on_images,
    }
