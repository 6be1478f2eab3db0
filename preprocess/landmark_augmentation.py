"""Training pictures for the network of landmarks: every eye moved, recoloured and spoilt at random, and its marks with it.

Phantoms have few textures, so colour, light and blur change far beyond what cameras do; position and size follow what
cropping leaves of cameras of 30 to 60 degrees, also upside down and mirrored.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .landmark_net import INPUT


def augmented(
    images: torch.Tensor, marks: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Move and recolour a batch.

    Args:
        images: uint8 (n, side, side, 3) RGB.
        marks: float (n, 5): disc_x, disc_y, disc_r, fovea_x, fovea_y in fractions of the width; NaN when unknown.

    Returns:
        The pictures, float (n, 3, INPUT, INPUT) 0..1; the moved marks; and the linear maps, float (n, 2, 2), that
        turn a direction in the original into one in the picture.
    """
    linear, shift = _placements(len(images), generator)
    batch = images.permute(0, 3, 1, 2).float() / 255
    grid = functional.affine_grid(torch.cat([linear, shift[:, :, None]], 2), [len(batch), 3, INPUT, INPUT], False)
    moved = functional.grid_sample(batch, grid, padding_mode="zeros", align_corners=False)
    field = _field(moved, generator)
    pictures = _recolored(moved, field, generator)
    forward = torch.linalg.inv(linear)
    return pictures, _moved_marks(marks, forward, shift), forward


def _placements(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps from the picture's coordinates (-1..1) to the original's: zoom, stretch, turn, flip, shift."""
    zoom = torch.exp(-_uniform(n, -0.12, 0.33, generator))
    stretch = torch.exp(_uniform(n, -0.08, 0.08, generator))
    degrees = 12 * torch.randn(n, generator=generator)
    degrees = torch.where(_chance(n, 0.1, generator), _uniform(n, -180, 180, generator), degrees)
    angle = torch.deg2rad(degrees)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    flips = 1 - 2 * torch.stack([_chance(n, 0.5, generator), _chance(n, 0.3, generator)], 1).float()
    size = torch.stack([zoom * stretch, zoom / stretch], 1) * flips
    shift = 0.12 * torch.randn(n, 2, generator=generator)
    return turn @ torch.diag_embed(size), shift.clamp(-0.3, 0.3)


def _moved_marks(marks: torch.Tensor, forward: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    def move(points: torch.Tensor) -> torch.Tensor:
        return ((forward @ (2 * points - 1 - shift)[:, :, None])[:, :, 0] + 1) / 2

    radius = marks[:, 2] * torch.linalg.det(forward).abs().sqrt()
    return torch.cat([move(marks[:, :2]), radius[:, None], move(marks[:, 3:])], 1)


def _field(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What is seen, float (n, 1, h, w) 0 or 1: the inscribed circle, sometimes with straight cuts, where anything is."""
    n = len(batch)
    line = torch.linspace(-1, 1, INPUT)
    x, y = line[None, None, None, :], line[None, None, :, None]
    rows = torch.where(_chance(n, 0.25, generator), _uniform(n, 0.7, 0.97, generator), 2.0).view(-1, 1, 1, 1)
    columns = torch.where(_chance(n, 0.1, generator), _uniform(n, 0.75, 0.97, generator), 2.0).view(-1, 1, 1, 1)
    inside = (x.square() + y.square() <= 1) & (x.abs() < columns) & (y.abs() < rows)
    return (inside & (batch.amax(1, keepdim=True) > 0.02)).float()


def _recolored(batch: torch.Tensor, field: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    n = len(batch)
    mixing = torch.eye(3) + 0.07 * torch.randn(n, 3, 3, generator=generator)
    batch = torch.einsum("nij,njhw->nihw", mixing, batch).clamp_min(0)
    grey = _chance(n, 0.08, generator).view(-1, 1, 1, 1)
    batch = torch.where(grey, batch[:, 1:2].expand(-1, 3, -1, -1), batch)
    gamma = torch.exp(0.3 * torch.randn(n, 3, 1, 1, generator=generator) * torch.tensor([0.5, 1, 1]).view(1, 3, 1, 1))
    gain = torch.exp(0.25 * torch.randn(n, 3, 1, 1, generator=generator))
    batch = gain * (batch + 1e-4) ** gamma
    batch = _blurred(batch, field, generator)
    batch = batch * torch.exp(_uneven(n, 4, 0.18, generator) + _uneven(n, 10, 0.06, generator))
    batch = _spotted(batch, generator)
    batch = _veiled(batch, generator)
    noise = _uniform(n, 0, 0.03, generator).view(-1, 1, 1, 1) * torch.randn(batch.shape, generator=generator)
    return ((batch + noise).clamp(0.025, 1)) * field


def _blurred(batch: torch.Tensor, field: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A third of the pictures out of focus, by a blur that all of these share."""
    sigma = float(_uniform(1, 0.4, 2.2, generator))
    reach = math.ceil(2.5 * sigma)
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    chosen = _chance(len(batch), 0.33, generator).nonzero()[:, 0]

    def soften(pictures: torch.Tensor) -> torch.Tensor:
        wide = functional.conv2d(pictures, kernel, padding=(0, reach), groups=3)
        return functional.conv2d(wide, kernel.transpose(2, 3), padding=(reach, 0), groups=3)

    result = batch.clone()
    inside = field[chosen].expand(-1, 3, -1, -1)
    result[chosen] = soften(batch[chosen] * inside) / soften(inside).clamp_min(0.05)
    return result


def _uneven(n: int, cells: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Smooth random fields, mostly the same in all colours."""
    coarse = torch.randn(n, 1, cells, cells, generator=generator)
    coarse = strength * (coarse + 0.3 * torch.randn(n, 3, cells, cells, generator=generator))
    return functional.interpolate(coarse, size=(INPUT, INPUT), mode="bicubic", align_corners=False)


def _spotted(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Up to six soft spots in a third of the pictures, bright and yellowish as exudates or dark as bleedings."""
    n, spots = len(batch), 6
    center = _uniform((n, spots, 2), -0.9, 0.9, generator)
    radius = torch.exp(_uniform((n, spots), math.log(0.015), math.log(0.16), generator))
    height = 0.5 * torch.randn(n, spots, generator=generator) * _chance(n, 0.33, generator)[:, None]
    height = height * (_uniform((n, spots), 0, 1, generator) < 0.6)
    line = torch.linspace(-1, 1, INPUT)
    across = torch.exp(-((line - center[..., :1]) / radius[..., None]).square())
    down = torch.exp(-((line - center[..., 1:]) / radius[..., None]).square()) * height[..., None]
    spots_map = torch.einsum("nsh,nsw->nhw", down, across)[:, None].clamp(-0.8, 0.8)
    return batch * (1 + spots_map * torch.tensor([0.8, 1.0, 0.7]).view(1, 3, 1, 1))


def _veiled(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Haze over a third of the pictures, and light or darkness at the rim of another third."""
    n = len(batch)
    color = _uniform((n, 3), 0.2, 0.8, generator)[:, :, None, None]
    haze = torch.where(_chance(n, 0.33, generator), _uniform(n, 0, 0.7, generator), 0.0).view(-1, 1, 1, 1)
    batch = batch * (1 - haze) + color * haze
    line = torch.linspace(-1, 1, INPUT)
    center = 0.3 * torch.randn(n, 2, generator=generator)
    far = (line - center[:, :1])[:, None, :].square() + (line - center[:, 1:])[:, :, None].square()
    rim = ((far.sqrt() - 0.6) / 0.4).clamp(0, 1.5)[:, None].square()
    light = torch.where(_chance(n, 0.33, generator), _uniform(n, -0.5, 0.7, generator), 0.0).view(-1, 1, 1, 1)
    return (batch * (1 + light.clamp_max(0) * rim) + light.clamp_min(0) * rim * color).clamp_min(0)


def _chance(n: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator) < probability


def _uniform(shape: int | tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low
