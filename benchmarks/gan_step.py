"""How fast a training step is: images a second of this toolkit's DCGAN over a plain PyTorch loop's, and Lightning's share.

    python benchmarks/gan_step.py [--size 64] [--batch 32] [--steps 40] [--rounds 5] [--files 256]

The same networks and the same number of images a step, in one run, round after round in turn:

- plain: float32, a DataLoader over JPEG files of `--files` pixels (Pillow, two workers), the study's loop as found in
  tutorials: at 256 px pictures that somebody made small before, at 2048 px the photographs as they come from a camera;
- ours: `fundus-synth train --augment none`: a uint8 memory map, channels last, bfloat16 where the processor has it;
- bare: our step called in a loop without Lightning.

Prints the ratios with their range over the rounds. Simulated eyes, seed 0.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_lightning import Callback
from torch.utils.data import DataLoader, Dataset

from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.runtime.training import run_steps
from fundus_synth.synth.adversarial import PLAIN
from fundus_synth.synth.models import LATENT, Wanted, model_named
from fundus_synth.synth.networks.dcgan import Discriminator, Generator
from fundus_synth.synth.train import Options, where_and_how


class Files(Dataset):
    """Files, decoded whenever they are asked for, as tutorials do it."""

    def __init__(self, paths: list[Path], size: int):
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index % len(self.paths)]) as image:
            pixels = np.asarray(image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1


def as_files(dataset: FundusDataset, folder: Path, size: int) -> list[Path]:
    """The dataset's pictures as JPEG files of `size` x `size` pixels."""
    folder.mkdir()
    paths = [folder / f"{index}.jpg" for index in range(len(dataset))]
    for index, path in enumerate(paths):
        with Image.open(dataset.image_path(index)) as image:
            image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC).save(path, quality=92)
    return paths


def plain_rate(paths: list[Path], size: int, batch: int, steps: int) -> float:
    """Images a second of the plain loop; the first two steps are not counted."""
    generator, discriminator = Generator(size, LATENT, PLAIN.width), Discriminator(size, PLAIN.width)
    options = {"lr": PLAIN.learning_rate, "betas": (0.5, 0.999)}
    g_optimizer = torch.optim.Adam(generator.parameters(), **options)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), **options)
    loader = iter(DataLoader(Files(paths, size), batch_size=batch, shuffle=False, num_workers=2))
    for step in range(steps + 2):
        if step == 2:
            began = time.perf_counter()
        real = next(loader)
        fake = generator(torch.randn(batch, LATENT))
        d_optimizer.zero_grad()
        loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
        loss.backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        F.softplus(-discriminator(fake)).mean().backward()
        g_optimizer.step()
    return steps * batch / (time.perf_counter() - began)


class Clock(Callback):
    """Notes when the third step begins and the last one ends."""

    def on_train_batch_end(self, trainer: object, training: object, outputs: object, batch: int, index: int) -> None:
        """Start after the second step."""
        if index == 1:
            self.began = time.perf_counter()
        self.ended = time.perf_counter()


def our_rate(wanted: Wanted, steps: int, lightning: bool) -> float:
    """Images a second of this toolkit's step, through Lightning or called by hand."""
    training = model_named("dcgan").make(wanted)
    device, precision = where_and_how(Options())
    if lightning:
        clock = Clock()
        run_steps(training, range(steps + 2), clock, device, precision)
        return steps * training.batch_size / (clock.ended - clock.began)
    optimizers = training.configure_optimizers()
    training.optimizers = lambda: optimizers
    training.set_learning_rate = lambda rate: None
    training.manual_backward = lambda loss: loss.backward()
    training.train()
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        for step in range(steps + 2):
            if step == 2:
                began = time.perf_counter()
            training.training_step(step)
    return steps * training.batch_size / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=256, help="pixels of the files that the plain loop reads")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_phantom_dataset(Path(folder) / "eyes", images_per_class=32, size=256, seed=0, quiet=True)
        dataset = FundusDataset.open(Path(folder) / "eyes")
        paths = as_files(dataset, Path(folder) / "files", options.files)
        image_cache(dataset, options.size)
        wanted = Wanted(dataset, "all-classes", tuple(dataset.class_counts()), options.size, options.batch, "none", 0)
        rounds = []
        for _ in range(options.rounds):
            plain = plain_rate(paths, options.size, options.batch, options.steps)
            ours, bare = (our_rate(wanted, options.steps, lightning) for lightning in (True, False))
            rounds.append((ours / plain, bare / ours - 1))
    faster, overhead = np.median(rounds, 0)
    low, high = np.min(rounds, 0), np.max(rounds, 0)
    print(f"ours over plain: {faster:.2f} x ({low[0]:.2f} to {high[0]:.2f} in {options.rounds} rounds)")
    print(f"Lightning's overhead: {overhead:.1%} ({low[1]:.1%} to {high[1]:.1%})")


if __name__ == "__main__":
    main()
