"""Does the audit flag a generator that was trained far too long on far too few eyes?

    python benchmarks/overtrained.py --data DATASET [--eyes 64] [--stages 500,2000,8000,32000] [--size 64] [--held-out 620]
                                     [--pictures 200] [--learner dcgan|glo] [--seed 0] [--sheet FILE.png]

Two learners, each of `--eyes` photographs of as many patients. `dcgan`: a DCGAN without augmentation or mirroring, with a moving
average over 500 images, eight in a batch. `glo`: DCGAN's generator without its adversary (Bojanowski, Joulin, Lopez-Paz and
Szlam 2018, "Optimizing the latent space of generative networks"): every photograph gets a code of its own, codes and generator
learn to give the photographs back, and pictures are made of codes drawn from a normal distribution with the mean and the
covariance of those learnt. It is the generator that can only learn by heart.

At each stage (optimiser steps) `--pictures` of its pictures are audited against the eyes it learnt, with eyes of other patients as
the held-out ones. One line a stage: passes over the eyes, the share of copies with its 95 % interval, the AUC with which
distances tell who was in the training, and the verdict. `--sheet` shows the pictures nearest to training eyes above those
eyes: real photographs, not for passing on. Not resumable.
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
CODE = 8  # numbers of a code of glo


class Auditor:
    """Audits the pictures of a learner whenever it has taken so many steps."""

    def __init__(self, eyes: FundusDataset, held_out: FundusDataset, options: argparse.Namespace):
        self.eyes, self.held_out, self.options = eyes, held_out, options
        self.stages = sorted(map(int, options.stages.split(",")))

    def audit(self, pictures: np.ndarray, steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with DatasetWriter(Path(folder) / "made", {"name": "over-trained"}) as writer:
                for number, image in enumerate(pictures):
                    writer.add({"file_name": f"images/{number:05d}.png"}, image)
            made = FundusDataset.open(Path(folder) / "made")
            found = audit(made, self.eyes, self.held_out, workers=0, quiet=True)
            self.tell(found, steps)
            if self.options.sheet:
                draw_pairs(found, self.options.size, Path(self.options.sheet))

    def tell(self, found: PrivacyAudit, steps: int) -> None:
        told = ", ".join(f"{name} {one.auc}" for name, one in found.memberships.items())
        passes = steps * BATCH / len(self.eyes)
        print(f"{steps:>7} steps, {passes:>6.0f} passes: copies {found.copies.value:.1%} ({found.copies.low:.1%} to "
              f"{found.copies.high:.1%}); who was in the training, AUC: {told}: {found.verdict[0]}", flush=True)  # fmt: skip


class Stages(Callback):
    """The auditor's visits to an adversarial training."""

    def __init__(self, auditor: Auditor):
        self.auditor = auditor

    def on_train_batch_end(self, trainer: object, training: AdversarialTraining, *about: object) -> None:
        if training.steps_done in self.auditor.stages:
            self.auditor.audit(training.pictures(self.auditor.options.pictures), training.steps_done)


def draw_pairs(found: PrivacyAudit, size: int, path: Path) -> None:
    """The pictures nearest to training eyes (above) and those eyes (below)."""
    nearest = sorted(range(len(found.pictures)), key=lambda row: found.pictures[row].distance)[:SHOWN]
    made = [found.synthetic.read(row) for row in nearest]
    real = [found.sides.training.read(found.pictures[row].nearest) for row in nearest]
    small = [[cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in part] for part in (made, real)]
    sheet = np.vstack([np.hstack(row) for row in small])
    write_image(path, cv2.resize(sheet, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))


def learn_against_an_adversary(auditor: Auditor) -> None:
    """The DCGAN."""
    size, seed = auditor.options.size, auditor.options.seed
    recipe = Recipe(batch_size=BATCH, learning_rate=2e-4, policy=(), mirror=False, average_images=500)
    images = ImageStore(image_cache(auditor.eyes, size))
    torch.manual_seed(seed)
    generator, discriminator = Generator(size, LATENT, recipe.width), Discriminator(size, recipe.width)
    generator.field_of_view.copy_(field_of_view(images.pixels, False))
    networks = (network.to(memory_format=torch.channels_last) for network in (generator, discriminator))
    training = AdversarialTraining(*networks, images, recipe, seed)
    run_steps(training, range(auditor.stages[-1]), Stages(auditor), torch.device("cpu"), torch.float32)


def learn_by_heart(auditor: Auditor) -> None:
    """GLO, with the mean absolute error of the pixels as its loss."""
    size = auditor.options.size
    pixels = ImageStore(image_cache(auditor.eyes, size)).pixels
    truth = (pixels.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
    torch.manual_seed(auditor.options.seed)
    generator = Generator(size, CODE, Recipe().width)
    generator.field_of_view.copy_(field_of_view(pixels, False))
    codes = torch.nn.Parameter(torch.randn(len(truth), CODE))
    optimizer = torch.optim.Adam([{"params": generator.parameters(), "lr": 1e-3}, {"params": [codes], "lr": 1e-2}])
    for step in range(1, auditor.stages[-1] + 1):
        chosen = torch.randperm(len(truth))[:BATCH]
        loss = (generator(codes[chosen]) - truth[chosen]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in auditor.stages:
            auditor.audit(drawn_from(generator, codes.detach(), auditor.options.pictures), step)


def drawn_from(generator: Generator, codes: torch.Tensor, count: int) -> np.ndarray:
    """Pictures of codes that are distributed as the learnt ones: uint8 (count, size, size, 3)."""
    random = np.random.default_rng(0)
    drawn = random.multivariate_normal(codes.mean(0).numpy(), np.cov(codes.T.numpy()), count).astype(np.float32)
    generator.eval()
    with torch.inference_mode():
        images = torch.cat([generator(part) for part in torch.from_numpy(drawn).split(BATCH)])
    generator.train()
    return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def main() -> None:
    """Train, audit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eyes", type=int, default=64)
    parser.add_argument("--stages", default="500,2000,8000,32000")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=620)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--learner", choices=("dcgan", "glo"), default="dcgan")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet")
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    eyes, held_out = divide(FundusDataset.open(options.data), [2 * options.eyes, options.held_out], random)
    first_of_patient = ~eyes.column("patient_id").duplicated().to_numpy()
    eyes = eyes.subset(np.flatnonzero(first_of_patient)[: options.eyes])
    print(
        f"{len(eyes)} eyes to learn, {len(held_out)} of other patients held out, {options.size} pixels, seed {options.seed}"
    )
    learn = learn_by_heart if options.learner == "glo" else learn_against_an_adversary
    learn(Auditor(eyes, held_out, options))


if __name__ == "__main__":
    main()
