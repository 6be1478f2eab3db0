"""Where to compute, and in which precision."""

from __future__ import annotations

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


def multiplies_bf16(device: torch.device) -> bool:
    """True when the device multiplies bfloat16 in hardware, which also some processors do."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Not public in PyTorch: where it is missing, nothing is lost but speed.
    in_hardware = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    return device.type == "cpu" and in_hardware()
