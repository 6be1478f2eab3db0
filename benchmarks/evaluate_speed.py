"""How long `fundus-synth evaluate` takes, and in how much memory: two sets of as many images, nothing measured before.

    python benchmarks/evaluate_speed.py DATASET [--count 5000] [--size 256] [--workers 2]

The images are the eyes of the dataset, shifted and brightened so that no two are the same, as PNG. Memory is the largest
resident set of this process and of the largest worker.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from fundus_synth.data.cache import fit_square
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.workers import available_cores
from fundus_synth.synth.feature_spaces import feature_space
from fundus_synth.synth.judging.dataset_features import dataset_features
from fundus_synth.synth.judging.evaluate import evaluate


def write_varied(eyes: list[np.ndarray], path: Path, count: int, seed: int) -> FundusDataset:
    """`count` images in four classes, each an eye shifted by up to 4 pixels and up to 15 % darker."""
    random = np.random.default_rng(seed)
    with DatasetWriter(path, {"name": path.name}) as writer:
        for number in range(count):
            image = eyes[int(random.integers(len(eyes)))]
            move = np.float32([[1, 0, random.uniform(-4, 4)], [0, 1, random.uniform(-4, 4)]])
            image = cv2.warpAffine(image, move, image.shape[:2]) * random.uniform(0.85, 1)
            row = {
                "file_name": f"images/{number:05d}.png",
                "patient_id": f"{path.name}-{number}",
                "label": "abcd"[number % 4],
            }
            writer.add(row, image.round().astype(np.uint8))
    return FundusDataset.open(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    source = FundusDataset.open(options.dataset)
    eyes = [fit_square(source.read(row), options.size) for row in range(min(len(source), 200))]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUNDUS_CACHE"] = f"{folder}/cache"
        made, real = (
            write_varied(eyes, Path(folder) / name, options.count, i) for i, name in enumerate(("made", "real"))
        )
        start = time.perf_counter()
        for one in (made, real):
            dataset_features(feature_space("retina"), one, options.size, options.workers)
        features = time.perf_counter() - start
        evaluate(made, real, workers=options.workers, quiet=True)
        total = time.perf_counter() - start
    memory = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        f"{options.count} against {options.count} images, {options.size} px, {options.workers} workers, {available_cores()} cores"
    )
    print(f"total {total:.0f} s: features {features:.0f} s ({1000 * features / (2 * options.count):.1f} ms an image), "
          f"figures and page {total - features:.0f} s")  # fmt: skip
    print(f"memory: this process {memory[0]:.0f} MiB, the largest worker {memory[1]:.0f} MiB")


if __name__ == "__main__":
    main()
