"""python benchmarks/preprocess_speed.py [--file CAMERA.jpg] [--repetitions 40] [--files 300]

What it costs to make a standardised 512 px JPEG with its field of view from a camera file of 3400 x 2848 pixels, as a
multiple of the floor: one core doing nothing but decode at the smallest sufficient scale, resize, encode. Everything is
measured as CPU time on one thread, interleaved in one run. One file shows the whole circle (no mask is written, for the
inscribed circle is meant), of the other one the frame cuts top and bottom (the mask is written). Beside them stand the
parts that cost most, a full decode, and the two scripts that people use (local average subtracted; crop to what is
brighter than a threshold). Then what decoding at 1/4 does to the image, what JPEG does to the black around the field, and
how much faster two processes are than one.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fundus_synth.data.image_file import encode_image, read_image, read_photograph
from fundus_synth.data.phantom.anatomy import sample_eye
from fundus_synth.data.phantom.camera_models import sample_camera
from fundus_synth.data.phantom.render import render
from fundus_synth.preprocess.camera_file import Recipe, Task, process
from fundus_synth.preprocess.field_of_view import FieldOfView, find_field_of_view
from fundus_synth.preprocess.pipeline import run
from fundus_synth.preprocess.quality import measure_quality
from fundus_synth.preprocess.standardize import standardize

SIZE = 512
FRAME = (3400, 2848)
LIMIT, LIMIT_TWO, LIMIT_CROP = 1.5, 1.9, 5.0


def write_camera_file(path: Path, cut: bool = False) -> None:
    """A phantom's frame enlarged to a camera's pixels, with its grain, as JPEG; `cut`: without its top and bottom."""
    rng = np.random.default_rng(0)
    photograph = render(sample_eye(rng), sample_camera(rng, "tabletop-2240"), 1024).image
    if cut:
        photograph = photograph[len(photograph) // 11 : -(len(photograph) // 11)]
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


def two_floors_over_one(path: Path, calls: int) -> float:
    """What two processes gain on this machine when they do nothing but the floor, each by itself."""
    seconds = []
    for processes in (1, 2):
        context = multiprocessing.get_context("spawn")
        gate = context.Barrier(processes)
        with ProcessPoolExecutor(processes, context, initializer=_wait_at, initargs=(gate,)) as pool:
            seconds.append(max(pool.map(_floors, [path] * processes, [calls] * processes)))
    return 2 * seconds[0] / seconds[1]


def _wait_at(gate: object) -> None:
    global _gate
    _gate = gate


def _floors(path: Path, calls: int) -> float:
    cv2.setNumThreads(1)
    floor(path)
    _gate.wait()
    began = time.perf_counter()
    for _ in range(calls):
        floor(path)
    return time.perf_counter() - began


def standardised(path: Path, folder: Path) -> Task:
    """The task that makes `folder`/images/eye.jpg of a camera file; it was done once."""
    task = Task(path, "images/eye.jpg", {}, {})
    outcome = process(task, Recipe(folder, SIZE, "none"))
    if outcome.row is None:
        raise SystemExit(f"{path}: {outcome.reason}")
    return replace(task, row=outcome.row)


def print_costs(path: Path, folder: Path, repetitions: int) -> None:
    """CPU time of the pipeline, of its parts and of other people's scripts over the floor."""
    task, recipe = standardised(path, folder), Recipe(folder, SIZE, "none")
    small = read_photograph(path, at_least=SIZE).pixels
    done = standardize(small, SIZE)
    functions = {
        "floor": lambda: floor(path), "standardise": lambda: process(task, recipe),
        "its finder": lambda: find_field_of_view(small),
        "its quality": lambda: measure_quality(done.image, done.mask),
        "full decode": lambda: full_decode(path), "local average script": lambda: graham_script(path),
        "threshold crop script": lambda: threshold_crop(path),
    }  # fmt: skip
    spent = cpu_seconds(functions, repetitions)
    mask = "with" if (folder / "masks").is_dir() else "without"
    print(f"{path.name}, {mask} mask; floor: {1000 * np.median(spent['floor']):.1f} ms of CPU; "
          "over it, median and 95 % interval:")  # fmt: skip
    over_floor = {what: spent[what] for what in functions if what != "floor"}
    over_floor["standardise without quality"] = spent["standardise"] - spent["its quality"]
    for what, seconds in over_floor.items():
        limit = f"  (limit {LIMIT})" if what == "standardise" else ""
        print(line(what, seconds, spent["floor"]) + limit)
    print(
        line("crop script / standardise", spent["threshold crop script"], spent["standardise"]), f" (bar {LIMIT_CROP})"
    )


def line(what: str, values: np.ndarray, floors: np.ndarray) -> str:
    """A row of the table."""
    median, low, high = ratio(values, floors)
    return f"  {what:27} {median:5.2f}  [{low:.2f}, {high:.2f}]"


def print_losses(path: Path, folder: Path) -> None:
    """What the shortcuts cost: decoding small, and JPEG's ringing outside the field."""
    row = standardised(path, folder).row
    x, y, radius = (float(row[f"fov_{name}"]) for name in "xyr")
    width, height = row["camera_width"], row["camera_height"]
    photograph = read_photograph(path, at_least=SIZE)
    by = photograph.shrinking
    whole = FieldOfView(x, y, radius, 1.0, "", (0.0, 0.0, float(width), float(height)))
    shrunk = replace(whole, x=x / by, y=y / by, radius=radius / by, box=(0.0, 0.0, width / by, height / by))
    exact = standardize(read_photograph(path).pixels, SIZE, fov=whole)
    quick = standardize(photograph.pixels, SIZE, fov=shrunk)
    inside = cv2.erode(quick.mask & exact.mask, np.ones((3, 3), np.uint8), borderValue=0) > 0
    error = np.square(quick.image[inside].astype(float) - exact.image[inside]).mean()
    written = read_image(folder / "images" / "eye.jpg")
    print(f"decoded at 1/{by} against whole, in the field: PSNR {10 * np.log10(255**2 / error):.1f} dB; "
          f"largest grey level outside in the JPEG: {written[quick.mask == 0].max()}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a camera file instead of the two phantoms")
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--files", type=int, default=300, help="for two processes over one; 0 leaves it out")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [arguments.file] if arguments.file else [folder / "whole.jpg", folder / "cut.jpg"]
        if arguments.file is None:
            for path in paths:
                write_camera_file(path, cut=path.stem == "cut")
        for path in paths:
            place = folder / path.stem
            (place / "images").mkdir(parents=True)
            print_costs(path, place, arguments.repetitions)
            print_losses(path, place)
        if arguments.files:
            print(f"two processes over one, {arguments.files} files: "
                  f"{two_over_one(paths[0], arguments.files, folder):.2f} x  (limit {LIMIT_TWO})")  # fmt: skip
            print(
                f"the same doing nothing but the floor, without a pool: {two_floors_over_one(paths[0], arguments.files):.2f} x"
            )


if __name__ == "__main__":
    main()
