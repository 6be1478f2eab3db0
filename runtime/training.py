"""What every training shares: steps through Lightning's Trainer, and the state that `--resume` continues from."""

from __future__ import annotations

import io
import logging
import pickle
import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import nn

from .errors import UserError
from .files import write_bytes


def run_steps(
    training: LightningModule, steps: range, callback: Callback, device: torch.device, precision: torch.dtype,
    logger: Logger | bool = False, devices: int = 1, nodes: int = 1,
) -> None:  # fmt: skip
    """Call `training.training_step` with each number of `steps`, on `device`, under autocast to `precision`.

    With `devices` (a node) times `nodes` above one, so many processes do it together. Lightning starts those of one node; on
    several, start the command on each with torchrun or Slurm. Each process runs every step; what it does with its share of
    a batch, and the averaging of gradients, is the training's business (see `processes`).

    Lightning's own checkpoints (pickles), bars and tips are off: the callback saves, and shows progress.
    """
    if not len(steps):
        return
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Among them: that a moving average is in evaluation mode, where it belongs.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        if nodes == 1:
            warnings.filterwarnings("ignore", message="The `srun` command is available")
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=devices if device.index is None else [device.index],
            num_nodes=nodes,
            strategy=_together(device) if devices * nodes > 1 else "auto",
            precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
            max_epochs=1,
            logger=logger,
            callbacks=[callback],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(training, train_dataloaders=steps)


def _together(device: torch.device) -> Strategy:
    """Processes that meet, and nothing more: Lightning's own wrapper knows one backward pass a step, and a game has two."""

    class Together(DDPStrategy):
        def configure_ddp(self) -> None:
            pass

    return Together(process_group_backend="nccl" if device.type == "cuda" else "gloo")


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * network, for weights and batch-norm statistics; counters are copied."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def save_state(path: Path, state: dict) -> None:
    """Write a dict of tensors and plain values atomically, so that a kill at any moment leaves the old one or the new."""
    stream = io.BytesIO()
    torch.save(state, stream)
    write_bytes(path, stream.getvalue())


def read_state(path: Path, keys: Collection[str]) -> dict | None:
    """What `save_state` wrote, on the CPU; None when there is nothing yet. Only tensors and plain values are read.

    Raises:
        UserError: the file is damaged, or does not hold exactly `keys`.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError("is damaged and cannot be resumed from", path=path, hint="Start a new run.") from error
    if not isinstance(state, dict) or state.keys() != set(keys):
        raise UserError("is not the state of such a training", path=path, hint="Start a new run.")
    return state
