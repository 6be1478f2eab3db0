"""Where to compute, in which precision, and from which seed."""

from __future__ import annotations

import random

import numpy as np
import torch

from .errors import UserError

_PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: no such device, or it is not usable on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used on this machine", hint="Use auto, cpu or cuda.") from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype for autocast: "auto" is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        UserError: `name` is not auto, 32 or bf16.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _PRECISIONS:
        raise UserError(f"--precision {name} is not known", hint="Use auto, 32 or bf16.")
    return _PRECISIONS[name]


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
