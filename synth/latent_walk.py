"""Between the seeds: interpolations of a generator's latent vectors, as a sheet of rows or as a looping animation.

A generator that has learnt what eyes are passes through eyes on its way from one to the next; one that has learnt its
training images by heart jumps, or fades one into the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..data.image_file import write_image
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.files import atomic_path, refuse_existing
from ..version import __version__
from .checkpoint import load_generator
from .generator_training import seed_of
from .marks import NOT_A_PATIENT
from .sampling import images_of, latent_of, one_thread

SUFFIXES = (".gif", ".webp", ".png")
_COLUMNS = 8
_STATIONS = 5
_QUALITY = 90
_IMAGE_DESCRIPTION = 0x010E  # EXIF


def walk(
    run: Path | str, out: Path | str, *, eyes: int = 6, frames: int = 16, milliseconds: int = 80, truncation: float = 1.0,
    seed: int = 0, device: str = "cpu",
) -> Path:  # fmt: skip
    """Write a looping walk of several eyes side by side (`out` ends in .gif or .webp), or a sheet of interpolations (.png).

    An eye walks through 5 latent vectors and back to its first; a row of the sheet goes from one vector to another in 8
    images. The same arguments give the same file.

    Args:
        run: a run folder of `train`, or a folder with generator.safetensors and generator.json.
        eyes: walks side by side, or rows of the sheet.
        frames: from one vector to the next, in an animation.
        milliseconds: a frame is shown.
        truncation: as in `sampling.sample`.

    Raises:
        UserError: no generator, `out` exists or has another ending, or an option is out of range.
    """
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"ends in {out.suffix or 'nothing'}; expected one of {', '.join(SUFFIXES)}", path=out)
    for name, value in (("eyes", eyes), ("frames", frames), ("milliseconds", milliseconds)):
        if value < 1:
            raise UserError(f"--{name} is {value}; expected at least 1")
    if not 0 < truncation <= 2:
        raise UserError(f"--truncation is {truncation:g}; expected above 0, to 2")
    refuse_existing(out)
    generator, info = load_generator(run)
    generator.to(choose_device(device))
    with one_thread():
        if out.suffix.lower() == ".png":
            sheet = interpolation_sheet(generator, eyes, seed, truncation)
            write_image(out, sheet, {"Software": f"fundus-synth {__version__}", "Description": NOT_A_PATIENT})
        else:
            pictures = walk_frames(generator, eyes, frames, seed, truncation)
            _write_animation(out, pictures, milliseconds, f"{NOT_A_PATIENT}: {info.name}")
    return out


def interpolation_sheet(generator: nn.Module, rows: int, seed: int, truncation: float = 1.0) -> np.ndarray:
    """Rows of 8 images from one latent vector to another: uint8 (rows * size, 8 * size, 3)."""
    ways = [_ends(seed, row, 2, generator.latent) for row in range(rows)]
    shares = np.linspace(0, 1, _COLUMNS)
    latents = torch.stack([spherical(a, b, share) for a, b in ways for share in shares])
    return _tiled(images_of(generator, truncation * latents), rows)


def walk_frames(generator: nn.Module, eyes: int, frames: int, seed: int, truncation: float = 1.0) -> list[np.ndarray]:
    """The pictures of a loop, uint8 (size, eyes * size, 3) each; the one after the last would be the first."""
    ways = [_ends(seed, eye, _STATIONS, generator.latent) for eye in range(eyes)]
    pictures = []
    for leg in range(_STATIONS):
        for frame in range(frames):
            points = [spherical(way[leg], way[(leg + 1) % _STATIONS], frame / frames) for way in ways]
            pictures.append(_tiled(images_of(generator, truncation * torch.stack(points)), 1))
    return pictures


def spherical(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The latent vector at `share` (0..1) of the way from a to b, along the arc, its length between theirs.

    On the straight line it would be shorter than any the generator was trained with (Shoemake 1985; White 2016).
    """
    length_a, length_b = a.norm(), b.norm()
    angle = torch.arccos(torch.clamp(a @ b / (length_a * length_b), -1, 1))
    if angle < 1e-4:
        return torch.lerp(a, b, share)
    along = (torch.sin((1 - share) * angle) * a / length_a + torch.sin(share * angle) * b / length_b) / torch.sin(angle)
    return along * torch.lerp(length_a, length_b, share)


def _ends(seed: int, number: int, count: int, length: int) -> list[Tensor]:
    return [latent_of(seed_of(seed, "walk", number, place), length) for place in range(count)]


def _tiled(images: np.ndarray, rows: int) -> np.ndarray:
    """uint8 (n, size, size, 3) as one picture of so many rows."""
    columns, size = len(images) // rows, images.shape[1]
    grid = images.reshape(rows, columns, size, size, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * size, columns * size, 3))


def _write_animation(out: Path, pictures: list[np.ndarray], milliseconds: int, comment: str) -> None:
    first, *others = (Image.fromarray(picture) for picture in pictures)
    options = {"save_all": True, "append_images": others, "duration": milliseconds, "loop": 0}
    if out.suffix.lower() == ".gif":
        options["comment"] = comment.encode()
    else:
        options |= {"quality": _QUALITY, "exif": _exif(comment)}
    with atomic_path(out) as path:
        first.save(path, **options)


def _exif(comment: str) -> bytes:
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = comment
    return exif.tobytes()
