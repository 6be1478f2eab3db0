"""How fast a classifier trains: images a second of this toolkit over a plain PyTorch loop's, and over the bare model step.

    python benchmarks/train_step.py [--backbone mobilenetv2_100] [--size 128] [--batch 32] [--steps 8] [--rounds 5]

The same network, optimiser and images a step, in one run, round after round in turn:

- plain: float32, a DataLoader over PNG files of 512 pixels, one process a core: Pillow decodes, torchvision turns, flips,
  resizes and normalises, every epoch anew, as tutorials do it;
- bare: forward, backward and the optimiser's step on one batch that lies in memory, in our precision and memory format: what no
  loop can be faster than;
- ours: `fundus-classify train`: a uint8 memory map, `--augment` on the batch, Lightning.

Prints the ratios with their range over the rounds, that to the bare step also in processor time, on which other work on the
machine weighs less. Simulated eyes, seed 0.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from fundus_synth.classify.backbones import Classifier, create_backbone
from fundus_synth.classify.images import ImageSource, to_batch
from fundus_synth.classify.options import TrainingOptions
from fundus_synth.classify.supervised import SupervisedTraining
from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.data.targets import choose_target
from fundus_synth.runtime.devices import choose_device, choose_precision
from fundus_synth.runtime.training import run_steps

_UNCOUNTED = 2  # steps at the start: caches fill, buffers are made


class Files(Dataset):
    """PNG files, decoded and transformed whenever they are asked for."""

    def __init__(self, paths: list[Path], labels: np.ndarray, model: Classifier):
        self.paths, self.labels = paths, labels
        self.transform = v2.Compose([
            v2.RandomRotation(45), v2.RandomHorizontalFlip(), v2.Resize((model.size, model.size)), v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True), v2.Normalize(*model.normalization),
        ])  # fmt: skip

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index % len(self.paths)]) as image:
            return self.transform(image.convert("RGB")), int(self.labels[index % len(self.paths)])


class Stopwatch:
    """Seconds, and processor seconds of this process, between `start` and `stop`."""

    def __init__(self, device: torch.device):
        self.device = device

    def start(self) -> None:
        """Begin, when the device has done what it was told."""
        self.began = self._now()

    def stop(self) -> np.ndarray:
        """Float (2,)."""
        return self._now() - self.began

    def _now(self) -> np.ndarray:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return np.array([time.perf_counter(), time.process_time()])


class Bench:
    """One network's data and options, and its three loops; each returns images a second and images a processor second."""

    def __init__(self, dataset: FundusDataset, options: TrainingOptions):
        target = choose_target(dataset, "label")
        self.options, self.classes, self.labels = options, len(target.classes), target.labels(dataset)
        self.paths = [dataset.image_path(index) for index in range(len(dataset))]
        self.source = ImageSource(np.asarray(image_cache(dataset, options.size)))
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device)

    def plain(self) -> np.ndarray:
        """The loop of tutorials."""
        model = self._model()
        files = Files(self.paths, self.labels, model)
        loader = iter(DataLoader(files, self.options.batch_size, num_workers=len(os.sched_getaffinity(0)),
                                 pin_memory=self.device.type == "cuda"))  # fmt: skip
        network = model.network.to(self.device).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

        def step() -> None:
            images, truth = (part.to(self.device, non_blocking=True) for part in next(loader))
            optimizer.zero_grad()
            functional.cross_entropy(network(images), truth).backward()
            optimizer.step()

        return self._rate(step)

    def bare(self) -> np.ndarray:
        """The network's step alone."""
        model = self._model().to(self.device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        chosen = np.arange(self.options.batch_size) % len(self.source)
        images = to_batch(self.source.take(chosen), self.device)
        truth = torch.from_numpy(self.labels[chosen]).to(self.device)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                loss = functional.cross_entropy(model(images).float(), truth)
            loss.backward()
            optimizer.step()

        return self._rate(step)

    def ours(self) -> np.ndarray:
        """`fundus-classify train` between two evaluations."""
        model = self._model().to(memory_format=torch.channels_last)
        training = SupervisedTraining(model, self.source, self.labels, self.options)
        clock = Clock(Stopwatch(self.device))
        run_steps(training, range(self.options.steps), clock, self.device, self.precision)
        return self._images / clock.seconds

    @property
    def _images(self) -> int:
        return (self.options.steps - _UNCOUNTED) * self.options.batch_size

    def _model(self) -> Classifier:
        torch.manual_seed(0)
        return create_backbone(self.options.backbone, self.classes, self.options.size)

    def _rate(self, step: Callable[[], None]) -> np.ndarray:
        watch = Stopwatch(self.device)
        for number in range(self.options.steps):
            if number == _UNCOUNTED:
                watch.start()
            step()
        return self._images / watch.stop()


class Clock(Callback):
    """Starts the watch when the uncounted steps are over, and reads it after the last one."""

    def __init__(self, watch: Stopwatch):
        self.watch = watch

    def on_train_batch_end(self, trainer: object, training: object, outputs: object, batch: int, index: int) -> None:
        """After the second step."""
        if index == _UNCOUNTED - 1:
            self.watch.start()

    def on_train_end(self, trainer: object, training: object) -> None:
        """After the last."""
        self.seconds = self.watch.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--augment", default="default")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    options = TrainingOptions(given.backbone, given.size, steps=given.steps + _UNCOUNTED, batch_size=given.batch,
                              augment=given.augment, device=given.device)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_phantom_dataset(Path(folder) / "eyes", images_per_class=8, size=512, seed=0, quiet=True)
        bench = Bench(FundusDataset.open(Path(folder) / "eyes"), options)
        rounds = np.array([(bench.plain(), bench.bare(), bench.ours()) for _ in range(given.rounds)])
    print(f"{given.backbone}, {given.size} px, batch {given.batch}, {given.augment}, {bench.device}, {bench.precision}, "
          f"{torch.get_num_threads()} threads, {given.rounds} rounds of {given.steps} steps")  # fmt: skip
    plain, bare, ours = rounds.transpose(1, 2, 0)
    tell("the bare model step", ours[0] / bare[0])
    tell("the bare model step, processor time", ours[1] / bare[1])
    tell("the plain loop", ours[0] / plain[0])
    print("images/s: " + ", ".join(f"{name} {np.median(rates[0]):.1f}" for name, rates in
                                   (("plain", plain), ("bare", bare), ("ours", ours))))  # fmt: skip


def tell(than: str, ratios: np.ndarray) -> None:
    """One line: the median over the rounds, and their range."""
    print(f"ours over {than}: {np.median(ratios):.3f} x ({ratios.min():.3f} to {ratios.max():.3f})")


if __name__ == "__main__":
    main()
