"""python benchmarks/duplicates.py --data DATASET [--half even|odd] [--limit N] [--copies 100] [--seed 0] [--sheet FILE.png]
python benchmarks/duplicates.py --data DATASET --many 20000

Plants copies of real eyes, a hundred of each kind and each of another eye, and searches them together with the dataset:
how many are found (with the 95 % interval of Wilson), and how many pairs are reported among the untouched eyes. Those are
few and listed with their patients: look at them (--sheet lays them out side by side; keep that file to yourself), because
collections hold real copies, too. Last, what the search costs as a multiple of decoding the same images, in one run.

With --many only the time of a search in so many images is measured: where there are not enough eyes, other parts of the
same ones are added, magnified so far that they are no copies.

The thresholds were chosen on the patients of ODIR whose number is even (--half even).
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.duplicates import COPIES, SAME_EYE, DuplicateReport, find_duplicates
from fundus_synth.data.image_file import write_image
from fundus_synth.runtime.workers import map_in_order

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def resize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """To 50 .. 150 %."""
    side = round(len(image) * rng.uniform(0.5, 1.5))
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC)


def recompress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG of quality 30 .. 90."""
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 91))])[1]
    return np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1])


def brighten(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma and gain of 0.7 .. 1.4 each."""
    values = (image / 255) ** rng.uniform(0.7, 1.4) * rng.uniform(0.7, 1.4) * 255
    return values.clip(0, 255).astype(np.uint8)


def mirror(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Left and right or top and bottom."""
    return cv2.flip(image, int(rng.integers(2)))


def rotate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """About the centre, by any angle."""
    centre = ((len(image) - 1) / 2,) * 2
    return cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, rng.uniform(0, 360), 1), image.shape[:2])


def crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """2 .. 6 % off each side, each its own, and back to the square."""
    side = len(image)
    left, top, right, bottom = (round(share * side) for share in rng.uniform(0.02, 0.06, 4))
    return cv2.resize(image[top : side - bottom, left : side - right], (side, side), interpolation=cv2.INTER_CUBIC)


KINDS: dict[str, tuple[Change, ...]] = {
    "exact": (),
    "resized": (resize,),
    "recompressed": (recompress,),
    "brightened": (brighten,),
    "mirrored": (mirror,),
    "rotated": (rotate,),
    "rotated, brightened": (rotate, brighten),
    "all of these": (mirror, rotate, brighten, resize, recompress),
    "cropped": (crop,),
    "cropped, mirrored": (crop, mirror),
    "cropped, rotated": (crop, rotate),
    "cropped, brightened, recompressed": (crop, brighten, recompress),
}


def plant(dataset: FundusDataset, folder: Path, copies: int, seed: int) -> tuple[FundusDataset, np.ndarray]:
    """A dataset of `copies` copies of each kind, the kind as its label; and the row of `dataset` each was made from."""
    rng = np.random.default_rng(seed)
    copies = min(copies, len(dataset) // len(KINDS))
    sources = rng.permutation(len(dataset))[: copies * len(KINDS)]
    with DatasetWriter(folder, {"name": "planted copies"}) as writer:
        for number, source in enumerate(sources):
            kind = list(KINDS)[number // copies]
            image = dataset.read(int(source))
            for change in KINDS[kind]:
                image = change(image, rng)
            writer.add({"file_name": f"images/{number:05d}.png", "label": kind}, image)
    return FundusDataset.open(folder), sources


def many(dataset: FundusDataset, folder: Path, count: int, seed: int) -> FundusDataset:
    """`count` images: the eyes, and turned parts of them at 1.4 to 1.8 times their size, JPEG."""
    rng, size = np.random.default_rng(seed), 256
    y, x = np.mgrid[:size, :size]
    outside = np.hypot(x - size / 2 + 0.5, y - size / 2 + 0.5) > size / 2
    with DatasetWriter(folder, {"name": "many"}) as writer:
        for number in range(count):
            image = cv2.resize(dataset.read(number % len(dataset)), (size, size), interpolation=cv2.INTER_AREA)
            if number >= len(dataset):
                centre = (size / 2 + rng.uniform(-60, 60, 2)).tolist()
                turn = cv2.getRotationMatrix2D(centre, rng.uniform(0, 360), rng.uniform(1.4, 1.8))
                image = cv2.warpAffine(image, turn, (size, size))
                image[outside] = 0
            writer.add({"file_name": f"images/{number:06d}.jpg"}, image)
    return FundusDataset.open(folder)


def time_many(dataset: FundusDataset, count: int, seed: int) -> None:
    """Print how long the search in `count` images takes, over decoding them."""
    with tempfile.TemporaryDirectory() as folder:
        images = many(dataset, Path(folder) / "many", count, seed)
        start = time.perf_counter()
        find_duplicates([images])
        searching = time.perf_counter() - start
        start = time.perf_counter()
        for _ in map_in_order(decode, [images.image_path(row) for row in range(count)]):
            pass
        decoding = time.perf_counter() - start
    print(f"search / decode {count} images: {searching / decoding:.1f}  ({searching:.0f} s and {decoding:.0f} s)")


def wilson(found: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    z, share = 1.96, found / of
    middle, half = share + z * z / (2 * of), z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return tuple((middle + sign * half) / (1 + z * z / of) for sign in (-1, 1))


def print_recall(report: DuplicateReport, sources: np.ndarray) -> None:
    """The table of planted and found copies; a copy is found when the search groups it with its original."""
    untouched, planted = report.datasets
    group, same = report.groups(), {(p.a, p.b) for p in report.of_kind(SAME_EYE)}
    kinds, copies = planted.table["label"].to_numpy(), len(untouched) + np.arange(len(sources))
    print(f"{'kind':34s} planted  found  recall (95 % interval)    taken for another photograph")
    for kind in KINDS:
        chosen = kinds == kind
        found = group[copies[chosen]] == group[sources[chosen]]
        mistaken = sum((s, c) in same for s, c in zip(sources[chosen], copies[chosen], strict=True))
        low, high = wilson(int(found.sum()), len(found))
        print(
            f"{kind:34s} {len(found):7d} {found.sum():6d}  {found.mean():.3f} ({low:.3f} .. {high:.3f}) {mistaken:10d}"
        )


def print_untouched(report: DuplicateReport) -> list[tuple[int, int]]:
    """The pairs among the untouched eyes, and their rate; returns them."""
    eyes = len(report.datasets[0])
    patients = report.column("patient_id")
    pairs = [pair for pair in report.pairs if pair.b < eyes]
    print(f"\n{eyes} untouched eyes, {eyes * (eyes - 1) // 2} pairs of them:")
    for kind in (*COPIES, SAME_EYE):
        chosen = [pair for pair in pairs if pair.kind == kind]
        print(f"{kind}: {len(chosen)} pairs, {len(chosen) * (1e4 / eyes) ** 2:.2f} among 10 000 such eyes")
        for pair in chosen:
            print(f"    {report.name(pair.a)} of {patients[pair.a]} and {report.name(pair.b)} of {patients[pair.b]}: "
                  f"structure {pair.structure:.3f}, tone {pair.tone:.3f}, field {pair.field:.4f}")  # fmt: skip
    return [(pair.a, pair.b) for pair in pairs]


def write_sheet(dataset: FundusDataset, pairs: list[tuple[int, int]], path: Path) -> None:
    """The pairs side by side, 256 px an eye, three pairs a row."""
    tiles = [np.hstack([cv2.resize(dataset.read(i), (256, 256)) for i in pair]) for pair in pairs]
    tiles += [np.zeros((256, 512, 3), np.uint8)] * (-len(tiles) % 3)
    rows = [np.hstack(tiles[start : start + 3]) for start in range(0, len(tiles), 3)]
    write_image(path, np.vstack(rows))


def decode(path: Path) -> tuple[int, ...]:
    from fundus_synth.data.image_file import read_image

    return read_image(path).shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--half", choices=("even", "odd"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--many", type=int)
    options = parser.parse_args()
    dataset = FundusDataset.open(options.data)
    if options.half:
        odd = dataset.column("patient_id").map(lambda name: int(re.sub(r"\D", "", name) or 0) % 2)
        dataset = dataset.subset((odd == (options.half == "odd")).to_numpy())
    dataset = dataset.subset(np.arange(len(dataset))[: options.limit])
    if options.many:
        return time_many(dataset, options.many, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        planted, sources = plant(dataset, Path(folder) / "planted", options.copies, options.seed)
        start = time.perf_counter()
        report = find_duplicates([dataset, planted])
        searching = time.perf_counter() - start
        paths = [part.image_path(row) for part in report.datasets for row in range(len(part))]
        start = time.perf_counter()
        for _ in map_in_order(decode, paths):
            pass
        decoding = time.perf_counter() - start
    print_recall(report, sources)
    pairs = print_untouched(report)
    print(
        f"\nsearch / decode {len(paths)} images: {searching / decoding:.1f}  ({searching:.0f} s and {decoding:.0f} s)"
    )
    if options.sheet and pairs:
        write_sheet(dataset, pairs, options.sheet)


if __name__ == "__main__":
    main()
