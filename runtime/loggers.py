"""Where a training's figures go beside metrics.csv: TensorBoard's files, MLflow, Weights & Biases, or nowhere.

Nothing leaves this machine unless the user asks for it: "mlflow" writes into the run folder unless MLFLOW_TRACKING_URI names a
server, "wandb" sends to its service unless WANDB_MODE=offline.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from pytorch_lightning.loggers import Logger

from .errors import UserError

TENSORBOARD, CSV, MLFLOW, WANDB = LOGGERS = ("tensorboard", "csv", "mlflow", "wandb")
_PROJECT = "fundus-synth"


def check_logger(name: str) -> None:
    """Meet every mistake that `make_logger` would meet, before a run folder is made for it.

    Raises:
        UserError: an unknown name, or a package that is not installed.
    """
    if name not in LOGGERS:
        raise UserError(f"no logger is called {name!r}", hint=f"Use {', '.join(LOGGERS)}.")
    if name in (MLFLOW, WANDB) and importlib.util.find_spec(name) is None:
        raise UserError(f"--logger {name} needs the package {name}", hint=f'Try pip install "fundus-synth[{name}]".')


def make_logger(name: str, folder: Path, first_step: int = 0) -> Logger | bool:
    """A Lightning logger for the run in `folder`; False for "csv", since metrics.csv is written anyway.

    Args:
        name: one of LOGGERS.
        first_step: what TensorBoard's files say of this and later steps is replaced, so that a continued run has no step
            twice.

    Raises:
        UserError: see `check_logger`.
    """
    check_logger(name)
    if name == CSV:
        return False
    if name == TENSORBOARD:
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=first_step)
    if name == MLFLOW:
        from pytorch_lightning.loggers import MLFlowLogger

        where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        return MLFlowLogger(experiment_name=_PROJECT, run_name=folder.resolve().name, tracking_uri=where)
    from pytorch_lightning.loggers import WandbLogger

    return WandbLogger(project=_PROJECT, name=folder.resolve().name, save_dir=folder)
