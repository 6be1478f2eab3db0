"""What a classifier costs to run: parameters, multiply-adds of one image, the size of its file, and time on this processor."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .backbones import Classifier
from .checkpoint import load_classifier

_LEAST_SECONDS = 0.05


@dataclass(frozen=True)
class Cost:
    """The cost of one classifier.

    Attributes:
        parameters: numbers that training may change.
        multiply_adds: of one image, see `multiply_adds`.
        file_bytes: of its safetensors.
        milliseconds: for one image, once a round.
        relative: the same divided by the first classifier's time in the same round.
    """

    parameters: int
    multiply_adds: int
    file_bytes: int
    milliseconds: tuple[float, ...]
    relative: tuple[float, ...]


def parameter_count(network: nn.Module) -> int:
    """How many numbers training may change; the running statistics of batch normalisation are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(model: Classifier) -> int:
    """Multiply-adds (MACs) of one image in convolutions, linear layers and attention, as papers count them: half of what
    PyTorch's counter calls floating-point operations. Normalisation, activations and pooling are not counted."""
    device = next(model.parameters()).device
    counter, training = FlopCounterMode(display=False), model.training
    model.eval()
    # Attention as plain matrix products: the counter does not know every fused kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(torch.zeros(1, 3, model.size, model.size, device=device))
    model.train(training)
    return counter.get_total_flops() // 2


def image_times(models: dict[str, Classifier], rounds: int) -> dict[str, list[float]]:
    """Milliseconds that each model takes for a batch of one image: one value a round.

    The models take turns, so that whatever else the machine does falls on all of them. A turn lasts as many images as fill
    0.05 s, at least one.

    Args:
        models: on the CPU, in evaluation mode.
        rounds: how many, at least 1.
    """
    images = {name: torch.rand(1, 3, model.size, model.size) for name, model in models.items()}
    with torch.inference_mode():
        repeats = {name: _repeats(model, images[name]) for name, model in models.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, model in models.items():
                times[name].append(1000 * _seconds(model, images[name], repeats[name]) / repeats[name])
    return times


def _repeats(model: Classifier, image: torch.Tensor) -> int:
    model(image)  # the first call prepares buffers
    return max(1, round(_LEAST_SECONDS / _seconds(model, image, 1)))


def _seconds(model: Classifier, image: torch.Tensor, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        model(image)
    return time.perf_counter() - began


def measure_costs(runs: dict[str, str], rounds: int) -> dict:
    """A job: the cost of the classifiers in these run folders, on the processor.

    Returns:
        threads: that PyTorch computes with; and {name: facts of `Cost`} as "costs", JSON-able; the first name is the one
        that `relative` divides by.
    """
    models = {name: load_classifier(run)[0] for name, run in runs.items()}
    times = image_times(models, rounds)
    first = np.array(next(iter(times.values())))
    costs = {
        name: {
            "parameters": parameter_count(model),
            "multiply_adds": multiply_adds(model),
            "file_bytes": (Path(runs[name]) / "checkpoints" / "classifier.safetensors").stat().st_size,
            "milliseconds": times[name],
            "relative": (np.array(times[name]) / first).tolist(),
        }
        for name, model in models.items()
    }
    return {"threads": torch.get_num_threads(), "costs": costs}
