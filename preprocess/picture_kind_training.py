"""python -m fundus_synth.preprocess.picture_kind_training OUT.safetensors [--real FOLDER]

Trains the network of `picture_kind`: eyes are phantoms of every class and camera and, with --real, the ODIR-5K and EyePACS eyes of
every patient whose id has an even CRC-32; red-free pictures and angiograms are made from both. Everything else is
drawn, or cropped from the photographs that come with scikit-image (which must be installed for that). Other patients, other sets
and other photographs are for `benchmarks/preprocess_kind.py`.

FOLDER holds the dataset folders `odir` and `eyepacs`. The weights in the package are what the defaults give with --real:
seed 7. The same seed gives the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

from ..data.dataset import FundusDataset
from ..data.image_file import read_image
from ..data.phantom.camera_models import camera_names
from ..data.phantom.cohort import render_cohort
from ..data.phantom.course import PHANTOM_CLASSES
from ..runtime.errors import UserError
from ..runtime.files import atomic_path
from ..runtime.progress import Progress
from . import picture_kind_examples as examples
from .field_of_view import find_field_of_view
from .picture_kind import KINDS, SIDE, judged, probabilities, small_copy, two_looks

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
"""Of those that come with scikit-image; the others are for the benchmark."""
_CHANNELS = (6, 12, 16, 24, 32)
_KEPT = 96  # pixels of a kept example, so that it can be moved and turned without going soft
_BATCH = 64
_SHARES = {
    "fundus": 0.44, "red_free": 0.08, "fluorescein": 0.08, "external_eye": 0.10, "blank": 0.08, "text": 0.07,
    "photograph": 0.15,
}  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Pictures to learn from.

    Attributes:
        copies: uint8 (n, 96, 96, 3) of `small_copy`.
        kinds: int64 (n,), places in `KINDS`.
    """

    copies: np.ndarray
    kinds: np.ndarray


class KindNet(nn.Module):
    """Maps float (n, 6, SIDE, SIDE) of `two_looks` to logits (n, `KINDS`)."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(_convolution(*pair) for pair in zip(_CHANNELS[:-1], _CHANNELS[1:], strict=True)))
        self.hidden = nn.Linear(2 * _CHANNELS[-1], 32)
        self.kinds = nn.Linear(32, len(KINDS))

    def forward(self, looks: torch.Tensor) -> torch.Tensor:
        values = self.layers(looks)
        pooled = torch.cat([values.mean((2, 3)), values.amax((2, 3))], 1)
        return self.kinds(functional.relu(self.hidden(pooled)))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def fitting_half(patient: str) -> bool:
    """Whether a patient is for training; the others are for the benchmark."""
    return zlib.crc32(patient.encode()) % 2 == 0


def copy_of(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As the network will see it, but larger: around its field of view, in every sixth picture all of its frame."""
    fov = find_field_of_view(image)
    return small_copy(image, None if rng.random() < 1 / 6 else fov, _KEPT)


def drawn(kind: str, number: int, seed: int, photographs: list[np.ndarray]) -> np.ndarray:
    """The picture of this number of a kind that is not of the retina, uint8 RGB."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    if kind == "photograph":
        turn = number // 2 % len(photographs)
        return examples.photograph(photographs[turn], rng) if number % 2 else examples.scene(rng)
    return {"external_eye": examples.external_eye, "blank": examples.blank, "text": examples.text}[kind](rng)


def phantom_eyes(per_class: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Simulated eyes of every class, by every camera, and their vessels."""
    cameras = ["mixed", "mixed", *camera_names()]
    for _, image, masks in render_cohort(per_class, 224, seed, True, "all", 1, cameras):
        yield image, masks["vessels"]


def real_rows(folder: Path) -> list[tuple[FundusDataset, int]]:
    """Photographs of the patients who are for training: the dataset and the row."""
    datasets = [FundusDataset.open(folder / name) for name in ("odir", "eyepacs")]
    return [(d, row) for d in datasets for row, name in enumerate(d.column("patient_id")) if fitting_half(name)]


def gathered(eyes: Iterable[tuple[np.ndarray, np.ndarray | None]], count: int, others: int, seed: int) -> Examples:
    """All examples: the eyes, every fourth of them as a red-free picture and as an angiogram too, and `others` of each
    kind that is not of the retina (twice as many photographs).

    Args:
        eyes: standardised pictures and the masks of their vessels, None where nobody knows them. count: how many.
    """
    copies, kinds = [], []

    def add(kind: str, image: np.ndarray, rng: np.random.Generator) -> None:
        copies.append(copy_of(image, rng))
        kinds.append(KINDS.index(kind))

    photographs = [read_image(path) for path in bundled_photographs(PHOTOGRAPHS)]
    with Progress(count + others * (len(KINDS) - 2), "gathering", unit="pictures") as progress:
        for number, (image, vessels) in enumerate(eyes):
            rng = np.random.default_rng([seed, 0, number])
            add("fundus", examples.bordered(image, rng), rng)
            if number % 4 == 0:
                add("red_free", examples.red_free(image, rng), rng)
                add("fluorescein", examples.fluorescein(image, vessels, rng), rng)
            progress.advance()
        for kind in KINDS[3:]:
            for number in range(others * (2 if kind == "photograph" else 1)):
                add(kind, drawn(kind, number, seed, photographs), np.random.default_rng([seed, 9, number]))
                progress.advance()
    return Examples(np.stack(copies), np.array(kinds))


def bundled_photographs(names: tuple[str, ...]) -> list[Path]:
    """Files that come with scikit-image.

    Raises:
        UserError: it is not installed.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise UserError("photographs come with scikit-image", hint="pip install scikit-image") from error
    return [Path(skimage.data.__file__).parent / name for name in names]


def varied(copies: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Kept examples moved, recoloured and spoilt at random, uint8 (n, SIDE, SIDE, 3); what has one colour keeps it."""
    return np.stack([_varied(copy, KINDS[kind], rng) for copy, kind in zip(copies, kinds, strict=True)])


def _varied(copy: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    degrees = rng.uniform(-180, 180) if rng.random() < 0.25 else rng.normal(0, 8)
    moved = _resized(copy, degrees, np.exp(rng.uniform(-0.12, 0.2)), rng.normal(0, 0.02, 2))
    moved = np.ascontiguousarray(moved[:, :: rng.choice([-1, 1])])
    apart = 0.0 if kind in ("red_free", "fluorescein") else 0.12
    gamma = np.exp(rng.normal(0, 0.2) + rng.normal(0, apart / 2, 3))
    dimmed = np.exp(rng.uniform(-2.5, 0)) if rng.random() < 0.15 else 1.0
    gain = dimmed * np.exp(rng.normal(0, 0.2) + rng.normal(0, apart, 3))
    tones = gain * (np.arange(256)[:, None] / 255) ** gamma
    values = cv2.LUT(moved, tones[None].astype(np.float32))
    if rng.random() < 0.25:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.2:
        veil = rng.uniform(0.3, 0.9) * np.exp(rng.normal(0, apart, 3))
        share, lit = rng.uniform(0, 0.6), moved.max(2, keepdims=True) > 5
        values = (values * (1 - share) + (share * veil).astype(np.float32)) * lit
    values = values + rng.uniform(0, 0.02) * rng.standard_normal(values.shape, dtype=np.float32)
    return (255 * values.clip(0, 1)).astype(np.uint8)


def _resized(copy: np.ndarray, degrees: float = 0.0, zoom: float = 1.0, shift: Sequence[float] = (0, 0)) -> np.ndarray:
    """A kept example at `SIDE`, turned and zoomed about its middle and shifted by fractions of its width."""
    move = cv2.getRotationMatrix2D((_KEPT / 2, _KEPT / 2), degrees, zoom * SIDE / _KEPT)
    move[:, 2] += (SIDE - _KEPT) / 2 + SIDE * np.asarray(shift)
    # From corners to centres of pixels.
    move[:, 2] += move[:, :2].sum(1) / 2 - 0.5
    return cv2.warpAffine(copy, move, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def train(network: KindNet, pictures: Examples, steps: int, seed: int) -> None:
    """`steps` of AdamW on batches with fixed shares of the kinds, a one-cycle learning rate; changes the network."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    places = [np.flatnonzero(pictures.kinds == kind) for kind in range(len(KINDS))]
    network.train()
    with Progress(steps, "training", unit="steps") as progress:
        for _ in range(steps):
            drawn_kinds = rng.choice(len(KINDS), _BATCH, p=[_SHARES[kind] for kind in KINDS])
            chosen = [int(rng.choice(places[kind])) for kind in drawn_kinds]
            looks = two_looks(varied(pictures.copies[chosen], drawn_kinds, rng))
            wrong = functional.cross_entropy(
                network(torch.from_numpy(looks).permute(0, 3, 1, 2)), torch.from_numpy(drawn_kinds)
            )
            optimizer.zero_grad()
            wrong.backward()
            optimizer.step()
            schedule.step()
            progress.advance(1, loss=f"{wrong.item():.3f}")
    network.eval()


def folded(network: KindNet) -> dict[str, np.ndarray]:
    """The weights as `picture_kind.probabilities` takes them, float32: batch normalisation is folded into the layers."""
    found = {}
    for number, (convolution, norm, _) in enumerate(network.layers):
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = (convolution.weight * scale[:, None, None, None]).permute(2, 3, 1, 0)
        found[f"{number}.weight"] = weight.reshape(-1, weight.shape[-1])
        found[f"{number}.bias"] = norm.bias - norm.running_mean * scale
    for name in ("hidden", "kinds"):
        layer = getattr(network, name)
        found[f"{name}.weight"], found[f"{name}.bias"] = layer.weight.T, layer.bias
    return {name: value.detach().contiguous().numpy() for name, value in found.items()}


def save(weights: dict[str, np.ndarray], path: Path, facts: dict[str, str]) -> None:
    """Write the weights in half precision, with `facts` in the metadata."""
    with atomic_path(path) as temporary:
        save_file({name: value.astype(np.float16) for name, value in weights.items()}, temporary, metadata=facts)


def main() -> None:
    """The command; prints how many of its own examples of each kind are called so and how many are refused."""
    options = _options()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pictures = _cached(options)
    network = KindNet()
    train(network, pictures, options.steps, options.seed)
    weights = folded(network)
    print_answers(pictures, weights)
    save(weights, options.out, {"seed": str(options.seed), "real": str(options.real is not None).lower()})


def print_answers(pictures: Examples, weights: dict[str, np.ndarray]) -> None:
    """Of each kind, how many are called so and how many are refused."""
    for place, kind in enumerate(KINDS):
        copies = np.stack([_resized(copy) for copy in pictures.copies[pictures.kinds == place]])
        parts = np.array_split(copies, len(copies) // _BATCH + 1)
        found = [judged(share) for part in parts if len(part) for share in probabilities(part, weights)]
        right, refused = sum(one.kind == kind for one in found), sum(one.refused for one in found)
        print(f"{kind}: {len(found)} examples, {right} called so, {refused} refused")


def _cached(options: argparse.Namespace) -> Examples:
    if options.cache and options.cache.is_file():
        with np.load(options.cache, allow_pickle=False) as kept:
            return Examples(kept["copies"], kept["kinds"])

    rows = real_rows(options.real) if options.real else []
    real = ((dataset.read(row), None) for dataset, row in rows)
    eyes = chain(phantom_eyes(options.phantoms, options.seed), real)
    made = gathered(eyes, options.phantoms * len(PHANTOM_CLASSES) + len(rows), options.others, options.seed)
    if options.cache:
        with atomic_path(options.cache) as temporary, open(temporary, "wb") as file:
            np.savez(file, copies=made.copies, kinds=made.kinds)
    return made


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the network that tells fundus photographs from other pictures.")
    parser.add_argument("out", type=Path, help="weights to write, .safetensors")
    parser.add_argument("--real", type=Path, help="folder with the dataset folders odir and eyepacs")
    parser.add_argument("--phantoms", type=int, default=40, help="simulated eyes of each class")
    parser.add_argument("--others", type=int, default=500, help="pictures of each other kind, photographs twice")
    parser.add_argument("--cache", type=Path, help="file (.npz) that keeps the pictures for the next time")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
