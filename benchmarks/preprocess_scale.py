"""python benchmarks/preprocess_scale.py [--count 10000] [--listed 100000] [--workers 2]

A long run that is killed in the middle: `count` small camera files (200 phantoms, moved and recompressed, one in 500 cut
short) are standardised in one go, and once more with a kill -9 half-way and a second start; the two datasets must be equal
byte by byte. Printed are the seconds of both as a ratio and the memory of the largest process. Then `listed` empty files
are listed, and one camera file of 50 megapixels goes through a worker as JPEG (decoded small), PNG and TIFF (decoded whole).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_synth.data.phantom.cohort import render_cohort

PHANTOMS = 200
HEIGHT = 170
LARGE = (8700, 5800)
FORMATS = ("jpg", "png", "tif")
_RUN = "import sys; from fundus_synth.preprocess.pipeline import run; "
_RUN += "run(sys.argv[1], sys.argv[2], size=128, workers=int(sys.argv[3]), quiet=True)"
_LIST = "import sys, resource; from fundus_synth.data.readers import read_collection; "
_LIST += "a = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; n = len(read_collection(sys.argv[1]).rows); "
_LIST += "print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - a) >> 10)"


def write_camera_files(folder: Path, count: int) -> None:
    """`count` JPEG files in two classes."""
    rng = np.random.default_rng(0)
    cohort = render_cohort(PHANTOMS // 2, HEIGHT, seed=0, standardized=False, classes=("normal", "anemic"))
    frames = [image for _, image, _ in cohort]
    for number in range(count):
        image = np.roll(frames[number % len(frames)], tuple(rng.integers(-3, 4, 2)), axis=(0, 1))
        path = folder / ("normal", "anemic")[number % 2] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=int(rng.integers(85, 96)))
        if number % 500 == 499:
            path.write_bytes(path.read_bytes()[:2000])


def digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def start(src: Path, out: Path, workers: int) -> subprocess.Popen:
    """The run in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", _RUN, src, out, str(workers)])


def journalled(out: Path) -> int:
    """How many files the run has done."""
    journal = out.with_name(out.name + ".partial") / "rows.jsonl"
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


def killed_and_continued(src: Path, out: Path, count: int, workers: int) -> tuple[int, float]:
    """Kill the run half-way, start it again; returns how far it was, and the seconds of both."""
    began = time.monotonic()
    process = start(src, out, workers)
    while journalled(out) < count // 2 and process.poll() is None:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    at = journalled(out)
    assert start(src, out, workers).wait() == 0
    return at, time.monotonic() - began


def worker_memory(src: Path, out: Path) -> int:
    """MiB that a worker of a run held at most."""
    code = "import sys, resource; from fundus_synth.preprocess.pipeline import run; "
    code += "run(sys.argv[1], sys.argv[2], workers=2, quiet=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)"
    return int(
        subprocess.run([sys.executable, "-c", code, src, out], check=True, capture_output=True, text=True).stdout
    )


def print_listing(folder: Path, count: int) -> None:
    """Seconds and memory to list `count` files."""
    for number in range(count):
        path = folder / f"class_{number % 5}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _LIST, folder], check=True, capture_output=True, text=True)
    number, memory = done.stdout.split()
    print(f"{number} files listed in {time.monotonic() - began:.1f} s (with the start), {memory} MiB more memory")


def print_large(folder: Path) -> None:
    """Memory of a worker that has one camera file of 50 megapixels, by its format."""
    frame = next(iter(render_cohort(1, 512, seed=3, standardized=False, classes=("normal",))))[1]
    # The sides are cut off: stretched to the frame, the circle would be an oval.
    side = (frame.shape[1] - round(frame.shape[0] * LARGE[0] / LARGE[1])) // 2
    frame = frame[:, max(side, 0) : frame.shape[1] - max(side, 0)]
    large = Image.fromarray(frame).resize(LARGE, Image.Resampling.BICUBIC)
    for suffix in FORMATS:
        place = folder / suffix
        place.mkdir(parents=True)
        large.save(place / f"large.{suffix}", **({"compress_level": 1} if suffix == "png" else {}))
        memory = worker_memory(place, folder / f"out-{suffix}")
        print(f"memory of a worker with one file of 50 megapixels, {suffix}: {memory} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--listed", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_camera_files(folder / "eyes", arguments.count)
        began = time.monotonic()
        assert start(folder / "eyes", folder / "whole", arguments.workers).wait() == 0
        whole = time.monotonic() - began
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        at, broken = killed_and_continued(folder / "eyes", folder / "killed", arguments.count, arguments.workers)
        images = len(list((folder / "killed" / "images").iterdir()))
        print(
            f"{arguments.count} files, {images} images, {arguments.count - images} rejected, {arguments.workers} workers"
        )
        print(f"killed after {at}; equal: {digest(folder / 'whole') == digest(folder / 'killed')}")
        print(f"killed and continued / in one go: {broken / whole:.2f}  ({whole:.0f} s in one go)")
        print(f"memory of the largest process of the run: {largest} MiB")
        print_listing(folder / "listed", arguments.listed)
        print_large(folder / "large")


if __name__ == "__main__":
    main()
