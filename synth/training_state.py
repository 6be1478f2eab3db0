"""The state of an unfinished training: everything `--resume` needs, in one file that is replaced atomically."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from ..runtime.errors import UserError
from ..runtime.files import write_bytes
from .adversarial import AdversarialTraining
from .checkpoint import GeneratorInfo, load_generator

STATE = "state.pt"


def save_state(folder: Path, training: AdversarialTraining, trainer: Trainer) -> None:
    """Write both networks, the average, both optimisers and the step counter, which stands for all random states."""
    stream = io.BytesIO()
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    torch.save({"steps": training.steps_done, "networks": training.state_dict(), "optimizers": optimizers}, stream)
    write_bytes(folder / STATE, stream.getvalue())


def read_state(folder: Path) -> dict | None:
    """What `save_state` wrote into `folder`, on the CPU; None when it wrote nothing yet.

    Raises:
        UserError: the file is damaged or not ours.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict) and state.keys() == {"steps", "networks", "optimizers"}:
            return state
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError("is damaged and cannot be resumed from", path=path, hint="Start a new run.") from error
    raise UserError("is not the state of a training", path=path, hint="Start a new run.")


def restore_networks(training: AdversarialTraining, state: dict) -> None:
    """Load the networks, the average and the step counter from `read_state`'s answer."""
    training.load_state_dict(state["networks"])
    training.steps_done = state["steps"]


def start_from_run(training: AdversarialTraining, run: Path) -> GeneratorInfo:
    """Begin with the networks of another run (its averaged generator and its discriminator) instead of random ones.

    Returns:
        the description of that run's generator: whoever it has seen, the new one has seen too.

    Raises:
        UserError: `run` is not a finished or interrupted training of the same networks.
    """
    generator, info = load_generator(run)
    state = read_state(run / "checkpoints")
    if state is None:
        raise UserError(f"has no checkpoints/{STATE}, so its discriminator is lost", path=run)
    if generator.architecture != training.generator.architecture:
        ours, theirs = training.generator.architecture, generator.architecture
        raise UserError(f"has other networks ({theirs}) than this training ({ours})", path=run)
    surround = training.generator.field_of_view.clone()
    for network in (training.generator, training.average):
        network.load_state_dict(generator.state_dict())
        network.field_of_view.copy_(surround)
    prefix = "discriminator."
    theirs = {k.removeprefix(prefix): v for k, v in state["networks"].items() if k.startswith(prefix)}
    training.discriminator.load_state_dict(theirs)
    return info


def restore_optimizers(trainer: Trainer, state: dict) -> None:
    """Load the optimisers, once the trainer has made them."""
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
