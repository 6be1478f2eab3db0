"""python benchmarks/privacy_audit.py --data DATASET [--size 64] [--training 1500] [--held-out 400] [--strangers 400]
                                   [--copies 100] [--seed 0]

A synthetic set is feigned: copies of training eyes, so many of each kind, and eyes of patients who are neither in the
training nor among the held-out ones (strangers). The audit is run on it as on any other. Printed are, with the 95 % interval
of Wilson, how many copies of each kind it finds, how often it names the right training eye, and how many strangers it calls
copies. The time at the end is of this machine as it was.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.synth.privacy.audit import audit
from fundus_synth.synth.privacy.limits import share
from fundus_synth.synth.privacy.result import PrivacyAudit


def exact(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return image


def recompressed(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """JPEG of quality 50 .. 90."""
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(50, 91))])[1]
    return np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1])


def mirrored(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return cv2.flip(image, 1)


def shifted(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """By a fiftieth of the width, in any direction."""
    angle = random.uniform(0, 2 * np.pi)
    move = len(image) / 50 * np.array([np.cos(angle), np.sin(angle)])
    return cv2.warpAffine(image, np.column_stack([np.eye(2), move]), image.shape[:2])


def brightened(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Gamma and gain of 0.7 .. 1.4 each."""
    values = (image / 255) ** random.uniform(0.7, 1.4) * random.uniform(0.7, 1.4) * 255
    return values.clip(0, 255).astype(np.uint8)


def turned(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """About the centre, by any angle."""
    centre = ((len(image) - 1) / 2,) * 2
    return cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, random.uniform(0, 360), 1), image.shape[:2])


def softened(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Blurred as a weak generator does: a Gaussian of a fortieth of the width."""
    return cv2.GaussianBlur(image, (0, 0), len(image) / 40)


def blended(share_of_other: float):
    """With the eye of another patient."""

    def change(image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return cv2.addWeighted(image, 1 - share_of_other, other, share_of_other, 0)

    return change


KINDS = {
    "exact": exact, "recompressed": recompressed, "mirrored": mirrored, "shifted": shifted, "brightened": brightened,
    "turned": turned, "softened": softened, "blended 10 %": blended(0.1), "blended 20 %": blended(0.2),
    "blended 30 %": blended(0.3),
}  # fmt: skip


def part_of(dataset: FundusDataset, patients: set[str]) -> FundusDataset:
    return dataset.subset(dataset.column("patient_id").isin(patients).to_numpy())


def divide(dataset: FundusDataset, sizes: list[int], random: np.random.Generator) -> list[FundusDataset]:
    """Parts of about so many images, no patient in two."""
    counts = dataset.column("patient_id").value_counts()
    patients = random.permutation(sorted(counts.index)).tolist()
    parts = []
    for size in sizes:
        chosen, images = set(), 0
        while patients and images < size:
            chosen.add(patients.pop())
            images = int(counts[list(chosen)].sum())
        parts.append(part_of(dataset, chosen))
    return parts


def feign(
    training: FundusDataset, strangers: FundusDataset, folder: Path, size: int, copies: int, random: np.random.Generator
) -> tuple[FundusDataset, np.ndarray]:
    """The synthetic set, the kind of each image in its column "kind", and the training eye that each was made from, or -1."""

    def small(dataset: FundusDataset, row: int) -> np.ndarray:
        return cv2.resize(dataset.read(row), (size, size), interpolation=cv2.INTER_AREA)

    sources = []
    with DatasetWriter(folder, {"name": "feigned"}) as writer:
        for kind, change in KINDS.items():
            for source in random.permutation(len(training))[:copies].tolist():
                other = small(training, int(random.integers(len(training))))
                image = change(small(training, source), other, random)
                writer.add({"file_name": f"images/{len(sources):05d}.png", "kind": kind}, image)
                sources.append(source)
        for row in range(len(strangers)):
            writer.add({"file_name": f"images/{len(sources):05d}.png", "kind": "stranger"}, small(strangers, row))
            sources.append(-1)
    return FundusDataset.open(folder), np.array(sources)


def print_found(found: PrivacyAudit, sources: np.ndarray) -> None:
    kinds = found.synthetic.column("kind").to_numpy()
    copy = np.array([one.copy for one in found.pictures])
    nearest = np.array([one.nearest for one in found.pictures])
    distance = np.array([one.distance for one in found.pictures])
    outright = np.array([one.why == "an outright copy" for one in found.pictures])
    print(f"{'kind':14s}    n  called copies (95 % interval)  outright  right eye  distance: 99 % below")
    for kind in (*KINDS, "stranger"):
        of = kinds == kind
        called = share(int(copy[of].sum()), int(of.sum()))
        right = f"{(nearest[of] == sources[of]).mean():9.3f}" if kind != "stranger" else "        -"
        print(f"{kind:14s} {of.sum():4d}  {called.value:.3f} ({called.low:.3f} .. {called.high:.3f})"
              f"          {outright[of].mean():8.3f}  {right}  {np.quantile(distance[of], 0.99):.2f}")  # fmt: skip
    strangers = distance[kinds == "stranger"]
    print(f"strangers: nearest {strangers.min():.2f}, median {np.median(strangers):.2f} of the limit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--training", type=int, default=1500)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--strangers", type=int, default=400)
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    dataset = FundusDataset.open(options.data)
    training, held_out, strangers = divide(dataset, [options.training, options.held_out, options.strangers], random)
    with tempfile.TemporaryDirectory() as folder:
        made, sources = feign(training, strangers, Path(folder) / "feigned", options.size, options.copies, random)
        start = time.perf_counter()
        found = audit(made, training, held_out, quiet=False)
        seconds = time.perf_counter() - start
        print_found(found, sources)
        print("\n".join(found.lines()))
        print(
            f"{len(made)} against {len(training)}, {len(held_out)} held out: {seconds:.0f} s, on this machine as it was"
        )


if __name__ == "__main__":
    main()
