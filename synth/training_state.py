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


def restore_optimizers(trainer: Trainer, state: dict) -> None:
    """Load the optimisers, once the trainer has made them."""
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
