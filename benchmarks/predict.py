"""python benchmarks/predict.py [--run RUN --data DATASET] [--files FOLDER] [--models FP32.onnx INT8.onnx] [--repetitions 5]

What it costs to answer from a camera file with a model file of `fundus-classify export`. Four figures:

- cold start: `fundus-classify predict MODEL.onnx one.jpg` over a bare script that imports onnxruntime and cv2, loads the model,
  decodes, shrinks and runs, interleaved; wall and CPU time. Limit 1.3 x, for the wall.
- warm: milliseconds of CPU on one thread for each part of one photograph, and their shares. Limit 60 ms, most of it decoding.
- a folder: photographs a second over those of the same command with the run, which is the PyTorch eager path, interleaved.
  Limit 2 x.
- int8 over fp32: bytes, milliseconds of the network, and what `export` measured on the validation images.

With no --run, a small classifier is trained on simulated eyes; with no --files, the frames are simulated. --models saves the two
exports.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fundus_synth.classify.deploy.model_file import ModelFile, open_model
from fundus_synth.classify.deploy.photograph import read_camera_file
from fundus_synth.classify.deploy.predict import predict_files
from fundus_synth.data.image_file import image_files, read_image
from fundus_synth.preprocess.field_of_view import find_field_of_view
from fundus_synth.preprocess.picture_kind import picture_kind
from fundus_synth.preprocess.quality import measure_quality
from fundus_synth.preprocess.standardize import standardize

COLD, WARM, FOLDER = 1.3, 60.0, 2.0
_BARE = """
import sys
import onnxruntime, cv2
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = cv2.imread(sys.argv[2], cv2.IMREAD_COLOR_RGB)
print(session.run(None, {"image": cv2.resize(image, (512, 512), interpolation=cv2.INTER_AREA)[None]})[0])
"""
_COMMAND = "import sys; from fundus_synth.cli import classify_main; sys.argv[0] = 'fundus-classify'; classify_main()"


def cold_start(model: Path, file: Path, repetitions: int) -> None:
    """Print what starting costs, as ratios."""
    bare = [sys.executable, "-c", _BARE, str(model), str(file)]
    ours = [sys.executable, "-c", _COMMAND, "predict", str(model), str(file), "--quiet"]
    found = np.array(
        [[_subprocess(ours), _subprocess(bare)] for _ in range(repetitions)]
    )  # (r, ours or bare, wall or CPU)
    wall, cpu = (found[:, 0] / found[:, 1]).T
    least = found.min(axis=0)
    print(
        f"cold start: {np.median(wall):.2f} x of the bare script's wall time (limit {COLD} x), {np.median(cpu):.2f} x of its CPU"
    )
    print(
        f"  least seconds seen: ours {least[0, 0]:.2f} wall, {least[0, 1]:.2f} CPU; bare {least[1, 0]:.2f}, {least[1, 1]:.2f}"
    )


def warm(model: ModelFile, file: Path, repetitions: int) -> None:
    """Print what each part of a photograph costs."""
    pixels = read_image(file)
    fov = find_field_of_view(pixels)
    square = standardize(pixels, model.standard_size, model.illumination, fov)
    parts: dict[str, Callable[[], object]] = {
        "decode": lambda: read_camera_file(file),
        "find the field": lambda: find_field_of_view(pixels),
        "crop": lambda: standardize(pixels, model.standard_size, model.illumination, fov),
        "kind": lambda: picture_kind(pixels, fov),
        "quality": lambda: measure_quality(square.image, square.mask),
        "network": lambda: model.look(square.image[None]),
    }
    costs = {name: _milliseconds(part, repetitions) for name, part in parts.items()}
    total = sum(costs.values())
    shares = ", ".join(f"{name} {cost:.0f} ms ({cost / total:.0%})" for name, cost in costs.items())
    print(f"warm, {pixels.shape[1]} x {pixels.shape[0]} pixels: {total:.0f} ms of CPU (limit {WARM:.0f}): {shares}")


def folder(model: Path, run: Path, files: list[Path], repetitions: int) -> None:
    """Print how many more photographs a second the model file answers than the run."""
    from fundus_synth.classify.predictions import predict

    ways = {
        "model": lambda: predict_files(model, files, quiet=True),
        "run": lambda: predict(run, files, device="cpu", quiet=True),
    }
    seconds = [{name: _wall(way) for name, way in ways.items()} for _ in range(repetitions)]
    ratios = [once["run"] / once["model"] for once in seconds]
    print(f"a folder of {len(files)}: {np.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}) as many a second as with "
          f"PyTorch (limit {FOLDER} x)")  # fmt: skip


def quantised(single: Path, small: Path, repetitions: int) -> None:
    """Print what 8 bits cost and save."""
    models = [open_model(path) for path in (single, small)]
    image = (
        np.random.default_rng(0)
        .integers(0, 256, (1, models[0].standard_size, models[0].standard_size, 3))
        .astype(np.uint8)
    )
    first, second = (_milliseconds(lambda model=model: model.look(image), repetitions) for model in models)
    sizes = [path.stat().st_size / 1e6 for path in (single, small)]
    parity = models[1].facts["parity"]
    print(
        f"{models[1].facts['precision']} over fp32: {sizes[1]:.2f} of {sizes[0]:.2f} MB, {second:.1f} over {first:.1f} ms of CPU"
    )
    print(f"  {parity['images']} validation images: the same decision for {parity['same_decisions']}, PyTorch {parity['torch']}, "
          f"this file {parity['file']}")  # fmt: skip


def _subprocess(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _milliseconds(part: Callable[[], object], repetitions: int) -> float:
    """Least CPU time of the process."""
    part()
    costs = []
    for _ in range(repetitions):
        began = time.process_time()
        part()
        costs.append(time.process_time() - began)
    return 1000 * min(costs)


def _wall(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def _trained(folder: Path) -> tuple[Path, Path]:
    from fundus_synth.classify.train import train
    from fundus_synth.data.phantom.cohort import default_phantom_dataset

    data = default_phantom_dataset(quiet=True)
    return train(data, backbone="simple_cnn", steps=60, out=folder / "run", device="cpu", quiet=True).path, data.path


def _frames(folder: Path) -> list[Path]:
    from preprocess_speed import write_camera_file

    for number in range(8):
        write_camera_file(folder / f"{number}.jpg", cut=bool(number % 2))
    return sorted(folder.glob("*.jpg"))


def _exported(run: Path, data: Path | None, folder: Path) -> tuple[Path, Path]:
    from fundus_synth.classify.deploy.export import export

    for precision in ("fp32", "int8"):
        print("\n".join(export(run, folder / f"{precision}.onnx", precision=precision, data=data, quiet=True).lines()))
    return folder / "fp32.onnx", folder / "int8.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--files", type=Path)
    parser.add_argument("--models", type=Path, nargs=2, metavar=("FP32", "INT8"))
    parser.add_argument("--folder", type=int, default=48, help="photographs in the folder: the files again and again")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    temporary = Path(tempfile.mkdtemp())
    try:
        run, data = (options.run, options.data) if options.run else _trained(temporary)
        files = image_files(options.files) if options.files else _frames(temporary)
        single, small = options.models or _exported(run, data, temporary)
        widest = max(files, key=lambda file: abs(read_image(file).shape[1] - 3409) < 2)
        cold_start(single, widest, options.repetitions)
        warm(open_model(single), widest, 3 * options.repetitions)
        folder(single, run, (files * options.folder)[: options.folder], min(options.repetitions, 3))
        quantised(single, small, 10 * options.repetitions)
    finally:
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
