"""The states of a training: the newest one, which `--resume` continues, and the best one, which the watchdog goes back to.

Each is one file that is replaced atomically.
"""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Trainer

from ..runtime.errors import UserError
from ..runtime.runs import RunFolder
from ..runtime.training import read_state, save_state
from .adversarial import AdversarialTraining
from .checkpoint import GeneratorInfo, load_generator
from .generator_training import GeneratorTraining

STATE = "state.pt"
BEST = "best.pt"
_KEYS = ("steps", "networks", "optimizers", "watchdog")


def save_training(
    run: RunFolder, training: GeneratorTraining, trainer: Trainer, watchdog: dict, name: str = STATE
) -> None:
    """Save all networks and buffers, the optimisers, the watchdog's memory and the step counter, which stands for all
    random states."""
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    state = {"steps": training.steps_done, "networks": training.state_dict(), "optimizers": optimizers}
    save_state(run.checkpoints / name, {**state, "watchdog": watchdog})


def read_training(run: Path, name: str = STATE) -> dict | None:
    """What `save_training` saved in the run folder `run`; None when it saved nothing yet. Errors as in `read_state`."""
    return read_state(run / "checkpoints" / name, _KEYS)


def restore_networks(training: GeneratorTraining, state: dict) -> None:
    """Load the networks, the buffers and the step counter from `read_training`'s answer."""
    training.load_state_dict(state["networks"])
    training.steps_done = state["steps"]


def restore_optimizers(trainer: Trainer, state: dict) -> None:
    """Load the optimisers, once the trainer has made them."""
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)


def go_back(run: RunFolder, training: GeneratorTraining, trainer: Trainer) -> None:
    """Take the networks and optimisers of the best state; the step counter goes on, so that new random numbers are drawn."""
    state = read_training(run.path, BEST) or read_training(run.path)
    steps, pace, disguise = training.steps_done, training.pace.clone(), training.disguise.clone()
    restore_networks(training, state)
    restore_optimizers(trainer, state)
    training.steps_done = steps
    training.pace.copy_(pace)
    training.disguise.copy_(disguise)


def start_from_run(training: AdversarialTraining, run: Path, label: str) -> GeneratorInfo:
    """Begin with the networks of another run (its averaged generator and its discriminator) instead of random ones.

    Returns:
        the description of that run's generator: whoever it has seen, the new one has seen too.

    Raises:
        UserError: `run` is not a finished or interrupted training of the same networks, or has not learnt `label`.
    """
    generator, info = load_generator(run)
    # The discriminator of the moment when the generator was best, where that is known.
    state = read_training(run, BEST) or read_training(run)
    if state is None:
        raise UserError(f"has no checkpoints/{STATE}, so its discriminator is lost", path=run)
    prefix = "discriminator."
    weights = {k.removeprefix(prefix): v for k, v in state["networks"].items() if k.startswith(prefix)}
    training.start_from(generator, weights, info, label, run)
    return info
