"""The state of an unfinished training: everything `--resume` needs, in one file that is replaced atomically."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Trainer

from ..runtime.errors import UserError
from ..runtime.runs import RunFolder
from ..runtime.training import read_state, save_state
from .adversarial import AdversarialTraining
from .checkpoint import GeneratorInfo, load_generator

STATE = "state.pt"


def save_training(run: RunFolder, training: AdversarialTraining, trainer: Trainer) -> None:
    """Save both networks, the average, both optimisers and the step counter, which stands for all random states."""
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    state = {"steps": training.steps_done, "networks": training.state_dict(), "optimizers": optimizers}
    save_state(run.checkpoints / STATE, state)


def read_training(run: Path) -> dict | None:
    """What `save_training` saved in the run folder `run`; None when it saved nothing yet. Errors as in `read_state`."""
    return read_state(run / "checkpoints" / STATE, ("steps", "networks", "optimizers"))


def restore_networks(training: AdversarialTraining, state: dict) -> None:
    """Load the networks, the average and the step counter from `read_training`'s answer."""
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
    state = read_training(run)
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
