"""What the discriminator of a run says of real eyes: the most that anyone who holds the run folder could know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.errors import UserError
from ...runtime.runs import RunFolder
from ..checkpoint import DESCRIPTION, GeneratorInfo, generator_folder, read_info
from ..networks import cyclegan, dcgan, projected
from ..projection import projection
from ..training_state import BEST, read_training

Score = Callable[[Tensor], Tensor]
"""Images, float (B, 3, size, size) in -1..1, to scores (B,); high means real."""

_BATCH = 16
_PREFIX = {"cyclegan": "judge_of_target."}


def run_info(run: Path | str) -> GeneratorInfo:
    """The description of the generator in a run folder; errors as in `checkpoint.generator_folder` and `read_info`."""
    return read_info(generator_folder(run) / DESCRIPTION)


def discriminator_of(run: Path | str) -> Score | None:
    """The discriminator of a run, of when its generator was best; None where the run has lost it.

    Nothing is unpickled but tensors and plain values.

    Raises:
        UserError: no generator there, a damaged state, one that is not of that generator's networks, or a network through
            which the discriminator looked is not at hand.
    """
    info, run = run_info(run), Path(run)
    state = read_training(run, BEST) or read_training(run)
    if state is None:
        return None
    prefix = _PREFIX.get(info.architecture["model"], "discriminator.")
    weights = {k.removeprefix(prefix): v for k, v in state["networks"].items() if k.startswith(prefix)}
    score, network = _untrained(info, run)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"its state is not of the networks of {DESCRIPTION} ({str(error)[:200]})", path=run) from error
    network.eval().requires_grad_(False)
    return score


def scores(score: Score, images: np.ndarray) -> np.ndarray:
    """The score of each of uint8 (n, size, size, 3) images, float32 (n,)."""
    found = [np.zeros(0, np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(np.array(images[start : start + _BATCH])).permute(0, 3, 1, 2)
            found.append(score(batch.float() / 127.5 - 1).float().numpy())
    return np.concatenate(found)


def _untrained(info: GeneratorInfo, run: Path) -> tuple[Score, nn.Module]:
    """How the discriminator of these networks scores, and the network whose weights are to be loaded."""
    size, width = info.architecture["size"], info.architecture["width"]
    if info.architecture["model"] == "dcgan":
        plain = dcgan.Discriminator(size, width)
        return plain, plain
    if info.architecture["model"] == "cyclegan":
        patches = cyclegan.Discriminator(size, 2 * width)
        return lambda images: patches(images).flatten(1).mean(1), patches
    through = _projection(info, run)
    judges = projected.Discriminator(through.shapes, info.architecture.get("classes", 1))
    return lambda images: sum(s.mean(1) for s in judges(judges.mix(through(images)))), judges


def _projection(info: GeneratorInfo, run: Path) -> nn.Module:
    name = str(info.recipe.get("projection", "landmarks"))
    weights = RunFolder(run).config.get("projection_weights") if (run / "config.yaml").is_file() else None
    found = projection(name.partition(" ")[0], weights, info.architecture["size"])
    if found.name != name:
        raise UserError(f"its discriminator looked through {name}; {found.name} is at hand", path=run)
    return found
