"""What a class activation map costs: seconds for the maps of N images over seconds for their predictions alone.

    python benchmarks/explain_speed.py [--images 500] [--backbone mobilenetv3_large_100] [--size 224] [--method grad-cam]
                                       [--rounds 5] [--captum]

Both are done in one run on the same network and images, in batches of 32, round after round in turn, prediction first in one
round and last in the next. Prints the median ratio and its range over the rounds, in elapsed and in processor time; with
--captum also that of captum's LayerGradCam, whose backward pass goes down to the pixels. The limit is 3 x. Images are noise:
how long a network takes does not depend on what it sees. Random weights, seed 0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import LayerGradCam

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.explain.layers import find_layer
from fundus_synth.classify.explain.methods import METHODS, attribute
from fundus_synth.classify.images import to_batch
from fundus_synth.classify.predictions import predict_images
from fundus_synth.runtime.devices import choose_device

_LIMIT = 3.0
_BATCH = 32


def measured(action: Callable[[], object], device: torch.device) -> np.ndarray:
    """Elapsed seconds and processor seconds of this process, float (2,)."""
    began = np.array([time.perf_counter(), time.process_time()])
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()]) - began


def captums(model: torch.nn.Module, images: np.ndarray, targets: np.ndarray, device: torch.device) -> None:
    """The same maps by captum, before they are enlarged."""
    method = LayerGradCam(model, find_layer(model))
    for start in range(0, len(images), _BATCH):
        goals = torch.from_numpy(targets[start : start + _BATCH]).to(device)
        method.attribute(to_batch(images[start : start + _BATCH], device), target=goals, relu_attributions=True).cpu()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--backbone", default="mobilenetv3_large_100")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--method", default="grad-cam", choices=METHODS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--captum", action="store_true")
    given = parser.parse_args()
    device = choose_device(given.device)
    torch.manual_seed(0)
    model = create_backbone(given.backbone, 8, given.size).to(device, memory_format=torch.channels_last).eval()
    images = np.random.default_rng(0).integers(0, 256, (given.images, given.size, given.size, 3)).astype(np.uint8)
    targets = np.arange(given.images) % 8
    ways = {
        "prediction": lambda: predict_images(model, images, _BATCH, device),
        given.method: lambda: attribute(model, images, targets, given.method, device=device),
    }
    if given.captum:
        ways["captum"] = lambda: captums(model, images, targets, device)
    for action in ways.values():  # caches fill, kernels are chosen
        action()
    rounds = []
    for number in range(given.rounds):
        order = list(ways.items())[:: 1 if number % 2 else -1]
        rounds.append({name: measured(action, device) for name, action in order})
    print(f"{given.backbone}, {given.size} px, {given.images} images, {device}, {torch.get_num_threads()} threads, "
          f"{given.rounds} rounds; limit {_LIMIT:g} x")  # fmt: skip
    for name in list(ways)[1:]:
        ratios = np.array([one[name] / one["prediction"] for one in rounds])
        for k, clock in enumerate(("elapsed", "processor")):
            print(f"{name} over prediction, {clock}: {np.median(ratios[:, k]):.2f} x "
                  f"({ratios[:, k].min():.2f} to {ratios[:, k].max():.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
