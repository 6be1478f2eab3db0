"""Augmentation arms: what happens to a training batch before the network sees it, with random parameters for every
image.

Sources: study E (ODIR, classical arm), study A (anaemia, classical arm), study B (retinopathy, rotations) and RandAugment
(Cubuk et al. 2020). The studies wrote augmented copies to
disk beside the originals; here each image is altered anew whenever it is drawn, so that every arm costs the same
number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from ..preprocess.registration import disc_survives
from ..runtime.errors import UserError

Augmentation = Callable[..., torch.Tensor]
"""A function (batch, generator, discs=None) -> batch, see `make_augmentation`."""

_REDRAWS = 10

_ALIASES = {"classical": "classical:odir"}


def make_augmentation(name: str) -> Augmentation:
    """The augmentation called `name`: "default" (none), "classical:odir", "classical:anemia", "classical:dr",
    "classical:mild", "randaugment"; "classical" is "classical:odir".

    Returns:
        A function (batch, generator, discs=None) -> batch. The batch is float (n, 3, h, w) with values 0..1 and stays so;
        all random numbers come from the generator, so the same generator state gives the same batch. `discs` are the
        optic discs, float (n, 3): x, y and radius as fractions of the width, NaN where unknown; "classical:anemia" keeps
        them in the picture, the others do not look at them.

    Raises:
        UserError: unknown name.
    """
    try:
        return _ARMS[_ALIASES.get(name, name)]
    except KeyError as error:
        raise UserError(f"no augmentation is called {name!r}", hint=f"Use {', '.join([*_ARMS, *_ALIASES])}.") from error


def unguarded_discs(name: str, discs: np.ndarray) -> str:
    """What a user must know of the discs that the augmentation `name` cannot watch over, as one sentence; "" if nothing.

    Args:
        discs: float (n, 3) of the training images, as in `make_augmentation`.
    """
    unknown = int(np.isnan(discs[:, :2]).any(axis=1).sum())
    if make_augmentation(name) is not classical_anemia or not unknown:
        return ""
    return (
        f"The optic disc of {unknown} of {len(discs)} training images is not known (columns disc_x, disc_y, disc_r): "
        f"{name} may move it out of the picture."
    )


def unchanged(batch: torch.Tensor, generator: torch.Generator, discs: np.ndarray | None = None) -> torch.Tensor:
    """The arm `default`: the batch as it is."""
    return batch


def classical_odir(batch: torch.Tensor, generator: torch.Generator, discs: np.ndarray | None = None) -> torch.Tensor:
    """Study E: rotation within +-45 degrees, rescaling to the 0.2..99.8 percentiles, Gaussian noise of variance 0.01;
    no flips.

    Each of the three is applied to half of the images, independently, so that the network also sees images as they
    come at test time (the study kept the originals beside the augmented copies).
    """
    n = len(batch)
    turn, rescale, noise = (_uniform((n,), 0, 1, generator).to(batch.device) < 0.5 for _ in range(3))
    angles = _uniform((n,), -45, 45, generator).to(batch.device)
    batch = rotate(batch, torch.where(turn, angles, 0))
    batch = torch.where(_per_image(rescale), rescale_intensity(batch, 0.2, 99.8), batch)
    return torch.where(_per_image(noise), add_noise(batch, 0.01, generator), batch)


def classical_anemia(batch: torch.Tensor, generator: torch.Generator, discs: np.ndarray | None = None) -> torch.Tensor:
    """Study A: shifts within 0.4 of the width and 0.2 of the height, rotation within +-90 degrees, zoom 0.9..1.1
    along each axis, shear within +-30 degrees, horizontal and vertical flips with probability 1/2.

    One affine map an image, bilinear, black outside. The study then dropped copies that had lost their optic disc. Here a map
    under which the disc does not survive (`registration.disc_survives`) is drawn again, at most 10 times, and after that
    the image stays as it is: so every step still shows as many images. First all maps are drawn once, as without discs;
    an image whose disc is unknown, or not in the picture to begin with, keeps this first one.
    """
    linear, shifts = _study_a_maps(len(batch), generator)
    lost = _lost_discs(linear, shifts, discs, _visible_discs(discs))
    for _ in range(_REDRAWS):
        if not len(lost):
            break
        linear[lost], shifts[lost] = _study_a_maps(len(lost), generator)
        lost = _lost_discs(linear, shifts, discs, lost)
    linear[lost], shifts[lost] = torch.eye(2).to(linear), 0.0
    return _warp(batch, linear, shifts)


def classical_dr(batch: torch.Tensor, generator: torch.Generator, discs: np.ndarray | None = None) -> torch.Tensor:
    """Study B: rotation by any angle."""
    return rotate(batch, _uniform((len(batch),), -180, 180, generator).to(batch.device))


def classical_mild(batch: torch.Tensor, generator: torch.Generator, discs: np.ndarray | None = None) -> torch.Tensor:
    """What no study used and most classifiers of photographs are trained with: horizontal flip with probability 1/2, rotation
    within +-15 degrees, zoom 0.9..1.1, shifts within 1/20, brightness and contrast 0.85..1.15, one colour for all channels
    (hue and saturation are what anaemia is told by).
    """
    n = len(batch)
    angles = _uniform((n,), -15, 15, generator)
    zooms = _uniform((n, 1), 0.9, 1.1, generator).expand(n, 2).clone()
    zooms[_uniform((n,), 0, 1, generator) < 0.5, 0] *= -1
    batch = _warp(batch, _rotation(angles) @ torch.diag_embed(zooms), _uniform((n, 2), -0.1, 0.1, generator))
    brightness, contrast = (_per_image(_uniform((n,), 0.85, 1.15, generator)).to(batch) for _ in range(2))
    batch = batch * brightness
    means = batch.mean(dim=(1, 2, 3), keepdim=True)
    # Around the mean, but a black surround stays black.
    return torch.where(batch > 0, (batch - means) * contrast + means, batch).clamp(0, 1)


def randaugment(batch: torch.Tensor, generator: torch.Generator, discs: np.ndarray | None = None) -> torch.Tensor:
    """RandAugment (Cubuk et al. 2020) as torchvision has it: two of its 14 changes of geometry and colour to each image, at
    magnitude 9 of 30; bilinear, black outside."""
    from torchvision.transforms import InterpolationMode, v2

    change = v2.RandAugment(num_ops=2, magnitude=9, interpolation=InterpolationMode.BILINEAR)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    # torchvision draws from torch's own generator, which then goes on as if nothing had happened.
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return torch.stack([change(image) for image in batch]).clamp(0, 1)


def _study_a_maps(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """What `_warp` takes: float (n, 2, 2) and (n, 2)."""
    angles = _uniform((n,), -90, 90, generator)
    shears = _uniform((n,), -30, 30, generator)
    zooms = _uniform((n, 2), 0.9, 1.1, generator)
    flips = 1 - 2 * (_uniform((n, 2), 0, 1, generator) < 0.5).float()
    # Normalised coordinates run from -1 to 1: a shift by the whole width is 2.
    shifts = _uniform((n, 2), -1, 1, generator) * torch.tensor([0.8, 0.4], device=generator.device)
    return _rotation(angles) @ _shear(shears) @ torch.diag_embed(zooms * flips), shifts


def _visible_discs(discs: np.ndarray | None) -> np.ndarray:
    """Which images have a known disc that is in the picture: int (k,)."""
    if discs is None:
        return np.zeros(0, dtype=int)
    unmoved = np.eye(2, 3)
    known = np.flatnonzero(~np.isnan(discs).any(axis=1))
    return np.array([i for i in known if disc_survives(unmoved, *discs[i], 1)], dtype=int)


def _lost_discs(linear: torch.Tensor, shifts: torch.Tensor, discs: np.ndarray | None, among: np.ndarray) -> np.ndarray:
    """Those of the images `among` whose disc does not survive the map: int (k,)."""
    lost = []
    for i, matrix in zip(among, _forward_maps(linear[among], shifts[among]), strict=True):
        if not disc_survives(matrix, *discs[i], 1):
            lost.append(i)
    return np.array(lost, dtype=int)


def _forward_maps(linear: torch.Tensor, shifts: torch.Tensor) -> np.ndarray:
    """Where `_warp` takes a place of the original, both in fractions of the width: float64 (n, 2, 3).

    `_warp` maps the other way, from the result to the original, and counts from -1 to 1.
    """
    forward = np.linalg.inv(linear.double().cpu().numpy())
    centre = 0.5 * (1 + shifts.double().cpu().numpy())  # of the result, as a place in the original
    return np.concatenate([forward, 0.5 - forward @ centre[:, :, None]], axis=2)


def rotate(batch: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Each image turned counter-clockwise (as seen) about its centre by its own angle; bilinear, black outside.

    Args:
        batch: float (n, c, h, w), h == w.
        degrees: float (n,).
    """
    return _warp(batch, _rotation(degrees), torch.zeros(len(batch), 2))


def rescale_intensity(batch: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Each image stretched so that its percentiles `low` and `high` (over all pixels and channels) become 0 and 1;
    clipped.

    An image whose two percentiles coincide is returned as it is.
    """
    bottom, top = percentiles(batch, low), percentiles(batch, high)
    span = top - bottom
    stretched = (batch - _per_image(bottom)) / _per_image(span.clamp_min(1e-6))
    return torch.where(_per_image(span > 1e-6), stretched.clamp(0, 1), batch)


def percentiles(batch: torch.Tensor, percent: float) -> torch.Tensor:
    """The percentile of every image over all its values, linearly interpolated as numpy.percentile does.

    Args:
        batch: float (n, ...).
        percent: 0..100.

    Returns:
        float (n,).
    """
    flat = batch.flatten(1)
    upper = percent > 50
    # Counted from the nearer end: a short partial sort is several times cheaper than sorting every pixel.
    position = (1 - percent / 100 if upper else percent / 100) * (flat.shape[1] - 1)
    rank = math.floor(position)
    ends = flat.topk(min(rank + 2, flat.shape[1]), largest=upper).values
    return torch.lerp(ends[:, rank], ends[:, min(rank + 1, ends.shape[1] - 1)], position - rank)


def add_noise(batch: torch.Tensor, variance: float, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise of the given variance on every value, then clipped to 0..1."""
    noise = torch.randn(batch.shape, generator=generator, device=generator.device).to(batch.device)
    return (batch + noise * math.sqrt(variance)).clamp(0, 1)


_ARMS: dict[str, Augmentation] = {
    "default": unchanged,
    "classical:odir": classical_odir,
    "classical:anemia": classical_anemia,
    "classical:dr": classical_dr,
    "classical:mild": classical_mild,
    "randaugment": randaugment,
}


def _warp(batch: torch.Tensor, linear: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Sample `batch` at linear @ x + shift (normalised coordinates, x to the right, y down)."""
    theta = torch.cat([linear.to(batch), shifts.to(batch)[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _rotation(degrees: torch.Tensor) -> torch.Tensor:
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _shear(degrees: torch.Tensor) -> torch.Tensor:
    radians = torch.deg2rad(degrees)
    one, zero = torch.ones_like(radians), torch.zeros_like(radians)
    return torch.stack([torch.stack([one, -torch.sin(radians)], -1), torch.stack([zero, torch.cos(radians)], -1)], -2)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def _per_image(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)
