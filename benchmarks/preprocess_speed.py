"""python benchmarks/preprocess_speed.py [--file CAMERA.jpg] [--repetitions 40] [--files 200]

What it costs to make a standardised 512 px JPEG with its field of view from a camera file of 3400 x 2848 pixels, as a
multiple of the floor: one core doing nothing but decode at the smallest sufficient scale, resize, encode. Everything is
measured as CPU time on one thread, interleaved in one run; beside it a full decode, the two scripts that people use
(local average subtracted; crop to what is brighter than a threshold), and how much faster two processes are than one.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fundus_synth.data.image_file import encode_image
from fundus_synth.data.phantom.anatomy import sample_eye
from fundus_synth.data.phantom.camera_models import sample_camera
from fundus_synth.data.phantom.render import render
from fundus_synth.preprocess.camera_file import Recipe, Task, process
from fundus_synth.preprocess.pipeline import run

SIZE = 512
FRAME = (3400, 2848)
LIMIT, LIMIT_TWO = 1.5, 1.9


def write_camera_file(path: Path) -> None:
    """A phantom's frame enlarged to a camera's pixels, with its grain, as JPEG."""
    rng = np.random.default_rng(0)
    photograph = render(sample_eye(rng), sample_camera(rng, "tabletop-2240"), 1024).image
    # The sides are cut off: stretched to the frame, the circle would be an oval.
    height, width = photograph.shape[:2]
    side = (width - round(height * FRAME[0] / FRAME[1])) // 2
    frame = cv2.resize(photograph[:, side : width - side], FRAME, interpolation=cv2.INTER_CUBIC).astype(np.int16)
    frame += np.rint(rng.normal(0, 2, frame.shape)).astype(np.int16)
    Image.fromarray(frame.clip(0, 255).astype(np.uint8)).save(path, quality=92)


def floor(path: Path) -> bytes:
    """Decode at the smallest sufficient scale, resize, encode."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.draft("RGB", (SIZE, SIZE))
    return encode_image(cv2.resize(np.asarray(image), (SIZE, SIZE), interpolation=cv2.INTER_AREA), ".jpg")


def full_decode(path: Path) -> np.ndarray:
    """Every pixel of the file."""
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def graham_script(path: Path) -> bytes:
    """Full decode, resize, minus its Gaussian blur: what is written in many notebooks."""
    small = cv2.resize(cv2.imread(str(path)), (SIZE, SIZE))
    even = cv2.addWeighted(small, 4, cv2.GaussianBlur(small, (0, 0), SIZE / 30), -4, 128)
    return cv2.imencode(".jpg", even)[1].tobytes()


def threshold_crop(path: Path) -> bytes:
    """Full decode, crop to the rows and columns with anything brighter than 7 grey levels, resize."""
    frame = cv2.imread(str(path))
    lit = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) > 7
    crop = frame[np.ix_(lit.any(1), lit.any(0))]
    return cv2.imencode(".jpg", cv2.resize(crop, (SIZE, SIZE)))[1].tobytes()


def cpu_seconds(functions: dict[str, Callable[[], object]], repetitions: int) -> dict[str, np.ndarray]:
    """CPU seconds of each function, all of them in turn."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 2):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if repetition >= 2:
                spent[name].append(time.process_time() - start)
    return {name: np.array(values) for name, values in spent.items()}


def ratio(values: np.ndarray, floors: np.ndarray) -> tuple[float, float, float]:
    """Median of the paired ratios with its 95 % bootstrap interval."""
    ratios = values / floors
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    return float(np.median(ratios)), *np.percentile(np.median(draws, axis=1), (2.5, 97.5))


def two_over_one(path: Path, files: int, folder: Path) -> float:
    """Wall time of the whole command with one worker over that with two."""
    source = folder / "source"
    source.mkdir()
    for number in range(files):
        shutil.copy(path, source / f"{number:04d}{path.suffix}")
    seconds = []
    for workers in (1, 2):
        start = time.perf_counter()
        run(source, folder / f"out{workers}", size=SIZE, workers=workers, quiet=True)
        seconds.append(time.perf_counter() - start)
    return seconds[0] / seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a camera file instead of a phantom")
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--files", type=int, default=200, help="for two processes over one; 0 leaves it out")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.file or folder / "camera.jpg"
        if arguments.file is None:
            write_camera_file(path)
        (folder / "one" / "images").mkdir(parents=True)
        task, recipe = Task(path, "images/eye.jpg", {}, {}), Recipe(folder / "one", SIZE, "none")
        outcome = process(task, recipe)
        if outcome.row is None:
            raise SystemExit(f"{path}: {outcome.reason}")
        functions = {
            "floor": lambda: floor(path), "standardise": lambda: process(task, recipe),
            "full decode": lambda: full_decode(path), "local average script": lambda: graham_script(path),
            "threshold crop script": lambda: threshold_crop(path),
        }  # fmt: skip
        spent = cpu_seconds(functions, arguments.repetitions)
        print(f"floor: {1000 * np.median(spent['floor']):.1f} ms of CPU; over it, median and 95 % interval:")
        for what in list(functions)[1:]:
            median, low, high = ratio(spent[what], spent["floor"])
            limit = f"  (limit {LIMIT})" if what == "standardise" else ""
            print(f"  {what:22} {median:5.2f}  [{low:.2f}, {high:.2f}]{limit}")
        if arguments.files:
            print(f"two processes over one, {arguments.files} files: "
                  f"{two_over_one(path, arguments.files, folder):.2f} x  (limit {LIMIT_TWO})")  # fmt: skip


if __name__ == "__main__":
    main()
