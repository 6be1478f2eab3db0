"""Does the audit flag a generator that was trained far too long on far too few eyes?

    python benchmarks/overtrained.py --data DATASET [--eyes 64] [--stages 500,2000,8000,32000] [--size 64] [--held-out 620]
                                     [--pictures 200] [--penalty 0] [--latent 100] [--seed 0] [--sheet FILE.png]

A DCGAN without augmentation or mirroring, with a moving average over 500 images, learns `--eyes` photographs of as many
patients, eight in a batch. With `--penalty` its discriminator, then without batch norm, pays for the slope at real eyes (R1,
Mescheder, Geiger and Nowozin 2018, equation 9): without it the discriminator soon knows so few eyes by heart, and the
generator has no slope left to follow; with it the game has its equilibrium at the training eyes. At each stage (optimiser
steps) `--pictures` of its pictures are audited against the eyes it learnt, with eyes of other patients as the held-out
ones. One line a stage: passes over the eyes, the share of copies with
its 95 % interval, the AUC with which distances tell who was in the training, and the verdict. `--sheet` shows the pictures
nearest to training eyes above those eyes: real photographs, not for passing on. Not resumable.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from privacy_audit import divide
from pytorch_lightning import Callback

from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import write_image
from fundus_synth.runtime.training import run_steps
from fundus_synth.synth.adversarial import AdversarialTraining, Recipe
from fundus_synth.synth.image_store import ImageStore, field_of_view
from fundus_synth.synth.models import LATENT
from fundus_synth.synth.networks.dcgan import Discriminator, Generator
from fundus_synth.synth.privacy.audit import audit
from fundus_synth.synth.privacy.result import PrivacyAudit

BATCH = 8
SHOWN = 12


class Stages(Callback):
    """Audits the generator whenever it has taken so many steps."""

    def __init__(self, eyes: FundusDataset, held_out: FundusDataset, options: argparse.Namespace):
        self.eyes, self.held_out, self.options = eyes, held_out, options
        self.stages = sorted(map(int, options.stages.split(",")))

    def on_train_batch_end(self, trainer: object, training: AdversarialTraining, *about: object) -> None:
        if training.steps_done not in self.stages:
            return
        with tempfile.TemporaryDirectory() as folder:
            found = audit(self.shown(training, Path(folder) / "made"), self.eyes, self.held_out, workers=0, quiet=True)
            self.tell(found, training.steps_done)
            if self.options.sheet:
                draw_pairs(found, self.options.size, Path(self.options.sheet))

    def shown(self, training: AdversarialTraining, folder: Path) -> FundusDataset:
        with DatasetWriter(folder, {"name": "over-trained"}) as writer:
            for number, image in enumerate(training.pictures(self.options.pictures)):
                writer.add({"file_name": f"images/{number:05d}.png"}, image)
        return FundusDataset.open(folder)

    def tell(self, found: PrivacyAudit, steps: int) -> None:
        told = ", ".join(f"{name} {one.auc}" for name, one in found.memberships.items())
        passes = steps * BATCH / len(self.eyes)
        print(f"{steps:>7} steps, {passes:>6.0f} passes: copies {found.copies.value:.1%} ({found.copies.low:.1%} to "
              f"{found.copies.high:.1%}); who was in the training, AUC: {told}: {found.verdict[0]}", flush=True)  # fmt: skip


def draw_pairs(found: PrivacyAudit, size: int, path: Path) -> None:
    """The pictures nearest to training eyes (above) and those eyes (below)."""
    nearest = sorted(range(len(found.pictures)), key=lambda row: found.pictures[row].distance)[:SHOWN]
    made = [found.synthetic.read(row) for row in nearest]
    real = [found.sides.training.read(found.pictures[row].nearest) for row in nearest]
    small = [[cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in part] for part in (made, real)]
    sheet = np.vstack([np.hstack(row) for row in small])
    write_image(path, cv2.resize(sheet, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))


class PenalizedTraining(AdversarialTraining):
    """The same game with R1: gamma / 2 times the mean squared norm of the score's gradient at the real images."""

    gamma: float

    def real_batch(self, step: int) -> torch.Tensor:
        self.shown_real = super().real_batch(step)
        return self.shown_real

    def take_step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        if optimizer is self.optimizers()[1]:
            real = self.shown_real.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.scores(real).sum(), real, create_graph=True)
            loss = loss + 0.5 * self.gamma * slope.square().sum(dim=(1, 2, 3)).mean()
        super().take_step(optimizer, loss)


def build(eyes: FundusDataset, options: argparse.Namespace) -> AdversarialTraining:
    """The training that is meant to memorise."""
    recipe = Recipe(batch_size=BATCH, learning_rate=2e-4, policy=(), mirror=False, average_images=500)
    images = ImageStore(image_cache(eyes, options.size))
    torch.manual_seed(options.seed)
    generator = Generator(options.size, options.latent, recipe.width)
    discriminator = Discriminator(options.size, recipe.width)
    generator.field_of_view.copy_(field_of_view(images.pixels, False))
    if not options.penalty:
        return AdversarialTraining(*in_channels_last(generator, discriminator), images, recipe, options.seed)
    layers = (
        torch.nn.Identity() if isinstance(layer, torch.nn.BatchNorm2d) else layer for layer in discriminator.layers
    )
    discriminator.layers = torch.nn.Sequential(*layers)
    training = PenalizedTraining(*in_channels_last(generator, discriminator), images, recipe, options.seed)
    training.gamma = options.penalty
    return training


def in_channels_last(*networks: torch.nn.Module) -> list[torch.nn.Module]:
    """The same networks in the memory format that is faster here."""
    return [network.to(memory_format=torch.channels_last) for network in networks]


def main() -> None:
    """Train, audit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eyes", type=int, default=64)
    parser.add_argument("--stages", default="500,2000,8000,32000")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=620)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--penalty", type=float, default=0, help="gamma of R1; 0 for none")
    parser.add_argument("--latent", type=int, default=LATENT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet")
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    eyes, held_out = divide(FundusDataset.open(options.data), [2 * options.eyes, options.held_out], random)
    first_of_patient = ~eyes.column("patient_id").duplicated().to_numpy()
    eyes = eyes.subset(np.flatnonzero(first_of_patient)[: options.eyes])
    training, stages = build(eyes, options), Stages(eyes, held_out, options)
    print(
        f"{len(eyes)} eyes to learn, {len(held_out)} of other patients held out, {options.size} pixels, seed {options.seed}"
    )
    run_steps(training, range(stages.stages[-1]), stages, torch.device("cpu"), torch.float32)


if __name__ == "__main__":
    main()
