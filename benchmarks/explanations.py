"""python benchmarks/explanations.py [--eyes 160] [--images 24] [--methods grad-cam,...] [--keep FOLDER] [--sheet FILE]
       python benchmarks/explanations.py --real FOLDER --run RUN [--images 16]

Do maps point at what made the classifier say so? Of every method: pointing game, mass and rank accuracy against masks of lesions,
each over the same maps turned about the centre of the field and over the maps of a randomised network; insertion and deletion
over random maps of the same grain; rank correlation with the maps of the randomised network; the verdict. 95 % intervals
resample patients.

On phantoms: a small convolutional network that this script trains to tell diabetes (grade 2 and worse) from normal, on
photographs of 128 pixels, tested on other patients. Its first step, which is not learned, takes the local mean from each pixel,
so that a few hundred steps are enough to learn lesions from scratch; its last map has 32 x 32 cells.

--sheet lays the maps of six eyes, a column each, below the eyes with and without the outlines of their lesions, on one colour
scale a method.

With --real: FOLDER is that of the real eyes (DIARETDB1's frames are standardised first, pixels marked by half of the experts
and more are a lesion), RUN a classifier with a class diabetes. Prints figures only; photographs of patients make no sheet.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from fundus_synth.classify.checkpoint import load_classifier
from fundus_synth.classify.decision import load_decision
from fundus_synth.classify.explain.check_explanations import probability_of
from fundus_synth.classify.explain.faithfulness import Measured, measure, verdicts
from fundus_synth.classify.explain.faithfulness_cases import Cases, make_cases
from fundus_synth.classify.explain.methods import METHODS, PIXEL_METHODS, attribute, is_signed
from fundus_synth.classify.explain.overlay import color_scale
from fundus_synth.classify.explain.pointing import SCORES
from fundus_synth.classify.explain.randomization import randomized
from fundus_synth.classify.explain.sheets import draw, grid
from fundus_synth.classify.images import ImageSource, to_batch
from fundus_synth.classify.metrics import score
from fundus_synth.classify.predictions import predict_images
from fundus_synth.classify.tasks import ONE_CLASS
from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import read_image, write_image
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.preprocess.field_of_view import find_field_of_view
from fundus_synth.preprocess.standardize import resample_mask, standardize

_LESIONS = (
    "microaneurysms",
    "haemorrhages",
    "hard_exudates",
    "cotton_wool_spots",
    "soft_exudates",
    "neovascularisation",
)
_SIZE, _RENDERED = 128, 192
_BATCH, _RATE, _NEIGHBOURHOOD = 16, 6e-3, 33
_COLUMNS, _TILE = 6, 160


class LesionNetwork(nn.Module):
    """Local contrast, four convolutions, the mean over places, two logits. Float (n, 3, s, s) in 0..1 -> (n, 2)."""

    classes, size, name = 2, _SIZE, "a small network"

    def __init__(self):
        super().__init__()
        widths = ((3, 16, 5, 2), (16, 32, 3, 2), (32, 48, 3, 1), (48, 64, 3, 1))
        self.features = nn.Sequential(*(layer for plan in widths for layer in _block(*plan)))
        self.head = nn.Linear(64, 2)
        y, x = torch.meshgrid(*[torch.arange(_SIZE) + 0.5 - _SIZE / 2] * 2, indexing="ij")
        self.register_buffer("field", (x**2 + y**2 <= (_SIZE / 2) ** 2).float()[None, None], persistent=False)

    def gradcam_layer(self) -> nn.Module:
        return self.features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        around = _mean_around(images * self.field) / _mean_around(self.field).clamp(min=1e-6)
        contrast = (8 * (images - around) * self.field).clamp(-1, 1)
        return self.head(self.features(contrast).mean(dim=(2, 3)))


def _block(before: int, after: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()


def _mean_around(values: torch.Tensor) -> torch.Tensor:
    half = _NEIGHBOURHOOD // 2
    # Along one side and then the other: sixteen times less work than a square at once.
    rows = functional.avg_pool2d(values, (_NEIGHBOURHOOD, 1), 1, (half, 0))
    return functional.avg_pool2d(rows, (1, _NEIGHBOURHOOD), 1, (0, half))


def train(images: np.ndarray, labels: np.ndarray, steps: int) -> LesionNetwork:
    """Balanced batches, turned and mirrored."""
    torch.manual_seed(0)
    random, model = np.random.default_rng(0), LesionNetwork().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
    for _ in range(steps):
        rows = np.concatenate([random.choice(np.flatnonzero(labels == k), _BATCH // 2) for k in (0, 1)])
        batch = torch.rot90(to_batch(images[rows]), int(random.integers(4)), (2, 3))
        batch = batch.flip(3) if random.random() < 0.5 else batch
        loss = functional.cross_entropy(model(batch), torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def phantoms(folder: Path, name: str, eyes: int, seed: int) -> tuple[FundusDataset, np.ndarray]:
    """Normal eyes and those with diabetes of grade 2 and worse, and their labels, int (n,)."""
    path = folder / name
    if not path.exists():
        write_phantom_dataset(path, eyes, _RENDERED, seed, classes="normal,diabetes", quiet=True)
    dataset = FundusDataset.open(path)
    kept = dataset.subset(((dataset.column("label") == "normal") | (dataset.column("grade") >= 2)).to_numpy())
    return kept, (kept.column("label") == "diabetes").to_numpy().astype(int)


def on_phantoms(folder: Path, eyes: int, steps: int, count: int) -> tuple[LesionNetwork, Cases]:
    """A trained network, and held-out eyes whose diabetes it recognised."""
    trained, labels = phantoms(folder, "train", eyes, 1)
    held, truth = phantoms(folder, "held", 60, 2)
    weights = folder / f"network-{steps}.safetensors"
    if weights.exists():
        model = LesionNetwork().eval()
        model.load_state_dict(load_file(weights))
    else:
        model = train(np.asarray(image_cache(trained, _SIZE)), labels, steps)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    told = predict_images(model, ImageSource(image_cache(held, _SIZE)))
    auc = score("auroc", truth, told)
    rows = np.flatnonzero((truth == 1) & (told[:, 1] > 0.5))
    print(
        f"phantoms: AUC {auc:.3f} on {len(truth)} held-out eyes; {len(rows)} of {truth.sum()} with diabetes recognised"
    )
    rows = np.random.default_rng(0).permutation(rows)[:count]
    return model, make_cases(model, held, rows, np.ones(len(rows), int), _there(held))


def standardized(frames: Path, out: Path) -> FundusDataset:
    """DIARETDB1 as a dataset of standardised eyes with masks of 0 and 255."""
    source = FundusDataset.open(frames)
    with DatasetWriter(out, {"name": "diaretdb1"}) as writer:
        for i, row in source.table.iterrows():
            fov = find_field_of_view(source.read(i))
            eye = standardize(source.read(i), 512, fov=fov)
            found = {kind: source.mask_path(i, kind) for kind in _there(source)}
            soft = {kind: read_image(path).max(axis=2) for kind, path in found.items() if path}
            masks = {kind: resample_mask(np.where(mask >= 128, 255, 0).astype(np.uint8), eye.fov, 512)
                     for kind, mask in soft.items()}  # fmt: skip
            name = f"images/{Path(row['file_name']).stem}.png"
            writer.add({"file_name": name, "patient_id": row["patient_id"]}, eye.image, masks)
    return FundusDataset.open(out)


def on_real_eyes(folder: Path, real: Path, run: Path, count: int) -> tuple[nn.Module, Cases]:
    """The run's network, and eyes with marked lesions whose diabetes it recognised."""
    model, about = load_classifier(run)
    path = folder / "diaretdb1"
    eyes = FundusDataset.open(path) if path.exists() else standardized(real / "diaretdb1", path)
    diabetes = about.classes.index("diabetes")
    every = np.arange(len(eyes))
    cases = make_cases(model, eyes, every, np.full(len(eyes), diabetes), _there(eyes))
    told = load_decision(run, about).decide(predict_images(model, cases.images)) == diabetes
    marked = cases.masks.any(axis=(1, 2))
    print(
        f"DIARETDB1: {marked.sum()} of {len(eyes)} eyes with marked lesions; diabetes recognised in {(told & marked).sum()}"
    )
    rows = np.random.default_rng(0).permutation(np.flatnonzero(told & marked))[:count]
    return model, Cases(*(getattr(cases, name)[rows] for name in Cases.__dataclass_fields__))


def _there(dataset: FundusDataset) -> list[str]:
    return [kind for kind in _LESIONS if kind in dataset.mask_kinds]


def sheet(model: nn.Module, cases: Cases, methods: list[str]) -> np.ndarray:
    """Six eyes, the outlines of their lesions, and a row of maps for each method: uint8 (h, w, 3)."""
    some = cases.first(_COLUMNS)
    outlined = [_outlined(image, mask) for image, mask in zip(some.images, some.masks, strict=True)]
    tiles = [*(cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC) for image in some.images), *outlined]
    for method in methods:
        maps = attribute(model, some.images, some.targets, method) * some.fields
        scale = color_scale(maps, outliers=method in PIXEL_METHODS)
        tiles += [
            draw(image, one, scale, is_signed(method), _TILE) for image, one in zip(some.images, maps, strict=True)
        ]
    return grid(tiles, len(some))


def _outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    shown = cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(mask.astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(shown), outlines, -1, (255, 255, 255), 1)


def tell(measured: dict[str, Measured]) -> None:
    """The table."""
    some = next(iter(measured.values())).found
    print(
        f"the masks cover {100 * np.nanmean(some.area):.1f} % of the field, {100 * np.nanmean(some.near):.1f} % with margin"
    )
    for name, verdict in verdicts(measured).items():
        one = measured[name]
        print(f"\n{name}: {'passes' if verdict.passes else 'fails'}")
        for kind in SCORES:
            ours, turned, random = one.located(kind)
            print(f"  {kind:9} {ours}; over the turned map {turned}; over a random network {random}")
        curves, chance = one.curves, one.chance
        print(f"  insertion {curves.insertion_area.mean():.3f}, random {chance.insertion_area.mean():.3f}; deletion "
              f"{curves.deletion_area.mean():.3f}, random {chance.deletion_area.mean():.3f}; gain over random "
              f"{one.better_than_random}")  # fmt: skip
        stages = ", ".join(f"{np.nanmean(row):.2f}" for row in one.cascade.rank_correlation)
        alike = np.nanmean(one.cascade.structural_similarity[-1])
        print(f"  rank correlation, from the head down: {stages}; all random {one.alike_when_random}; structural similarity "
              f"{alike:.2f}; of another photograph {np.nanmean(one.cascade.other_image):.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eyes", type=int, default=160, help="phantoms a class to train on")
    parser.add_argument("--training-steps", type=int, default=240)
    parser.add_argument("--images", type=int, default=24, help="eyes that maps are made of")
    parser.add_argument("--randomized-images", type=int, default=12, help="of these, for the randomised networks")
    parser.add_argument("--curve-steps", type=int, default=16)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--real", type=Path, help="folder of the real eyes; needs --run")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--keep", type=Path, help="where eyes and network are kept for the next time")
    parser.add_argument("--sheet", type=Path, help="a picture of the maps; of phantoms only")
    options = parser.parse_args()
    if options.sheet and options.real:
        parser.error("--sheet is for phantoms; photographs of patients stay where they are")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.real:
            model, cases = on_real_eyes(folder, options.real, options.run, options.images)
        else:
            model, cases = on_phantoms(folder, options.eyes, options.training_steps, options.images)
        methods = options.methods.split(",")
        if options.sheet:
            write_image(options.sheet, sheet(model, cases, methods))
        networks, measured = randomized(model, cases.images), {}
        print(f"{len(cases)} eyes of {len(set(cases.patients))} patients", flush=True)
        for name in methods:
            measured[name] = measure(
                lambda network, images, targets, name=name: attribute(network, images, targets, name), model, networks, cases,
                probability_of(model, ONE_CLASS, "cpu"), randomized_images=options.randomized_images, steps=options.curve_steps,
            )  # fmt: skip
            print(f"{name} measured", flush=True)
        tell(measured)


if __name__ == "__main__":
    main()
