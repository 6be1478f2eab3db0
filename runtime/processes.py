"""Several processes that train one model: which one this is, its share of a batch, and gradients averaged over all.

One process is the special case that needs none of it. The processes are started by Lightning or by torchrun; every one
draws the random numbers of the whole batch and takes its own rows, so that how many there are does not change a result
beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def is_first() -> bool:
    """Whether this process writes the files; known before the processes have met, too."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    known = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    return int(next((rank for rank in known if rank), "0")) == 0


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rows(total: int) -> slice:
    """The rows of a batch of `total` that are this process's.

    Raises:
        ValueError: the processes cannot share `total` rows equally.
    """
    processes = count()
    if total % processes:
        raise ValueError(f"{processes} processes cannot share a batch of {total} equally")
    share = total // processes
    first = share * (dist.get_rank() if processes > 1 else 0)
    return slice(first, first + share)


def random_rows(draw, rows: int, *shape: int, **options: object) -> Tensor:
    """This process's `rows` rows of what `draw` (`torch.rand`, `torch.randn`, ...) gives for the whole batch.

    Returns:
        (rows, *shape), the same numbers whether one process draws them or several.
    """
    processes = count()
    whole = draw(rows * processes, *shape, **options)
    return whole[own_rows(rows * processes)]


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; one exchange for all of them."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= count()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a scalar over the processes."""
    if count() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / count()


def told_by_first(value: object) -> object:
    """What the first process says: a small picklable value that all others take over."""
    if count() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
