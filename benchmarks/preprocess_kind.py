"""python benchmarks/preprocess_kind.py [--real ../shared/data] [--eyes 0] [--others 200] [--photos FOLDER]

How many real eyes `picture_kind` refuses, and how many other pictures. Training never saw any of these: the
ODIR-5K and EyePACS patients whose id has an odd CRC-32, all of DRIVE, DIARETDB1, whole camera frames and `retina_dataset`;
simulated eyes, tortured frames, red-free pictures, angiograms and drawn pictures of other seeds; photographs and pages
that come with scikit-image, scikit-learn and matplotlib, those in `not_fundus`, and those of --photos. Each with Wilson's
95 % interval; then the area under the curve of the retina's probability, how that changes with the size of the picture,
and the time as a multiple of decoding the camera file at 1/4.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import is_image_name, read_photograph
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.data.phantom.torture import torture_set
from fundus_synth.preprocess import picture_kind_examples as examples
from fundus_synth.preprocess.field_of_view import HOPELESS, find_field_of_view
from fundus_synth.preprocess.picture_kind import (
    KINDS,
    OF_THE_RETINA,
    picture_kind,
)
from fundus_synth.preprocess.picture_kind_training import PHOTOGRAPHS, bundled_photographs, drawn, fitting_half

_SEED = 1234
_UNSEEN = ("chelsea.png", "moon.png", "clock_motion.png", "color.png", "motorcycle_right.png")
_PAGES = ("page.png", "text.png")
_CROPS = 8


class Answers:
    """What is said of each picture of a set, and whether a field of view was found."""

    def __init__(self, pictures: Iterable[np.ndarray]):
        self.told, self.found = [], []
        for image in pictures:
            fov = find_field_of_view(image)
            self.told.append(picture_kind(image, fov))
            self.found.append(fov.confidence >= HOPELESS)

    def line(self, name: str, wanted: str) -> str:
        """How many are refused (also for want of a circle), how many called as wanted, and what the others are called."""
        count, refused = len(self.told), sum(one.refused for one in self.told)
        out = sum(one.refused or not found for one, found in zip(self.told, self.found, strict=True))
        kinds = Counter(one.kind for one in self.told)
        others = ", ".join(f"{kind} {n}" for kind, n in kinds.most_common() if kind != wanted)
        return (
            f"{name:34} n {count:5}  refused {share(refused, count):26} with those without a circle {out:4}  "
            f"called {wanted} {share(kinds[wanted], count)}" + (f"; {others}" if others else "")
        )


def share(part: int, whole: int) -> str:
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return f"{part} = {part / whole:.1%} ({interval.low:.1%} .. {interval.high:.1%})"


def held_out(real: Path, name: str, limit: int) -> Iterator[np.ndarray]:
    """Eyes of a set whose patients are not for training; of sets that training never sees, all."""
    dataset = FundusDataset.open(real / name)
    chosen = [
        i
        for i, patient in enumerate(dataset.column("patient_id"))
        if name in ("drive", "diaretdb1") or not fitting_half(patient)
    ]
    for index in chosen[: limit or None]:
        yield dataset.read(index)


def files(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_image_name(path):
            yield read_photograph(path, at_least=384).pixels


def crops(pictures: list[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Eight of each picture: parts of it, some in a circle, some tinted."""
    for number, image in enumerate(pictures):
        for turn in range(_CROPS):
            yield examples.photograph(image, np.random.default_rng([seed, number, turn]))


def print_eyes(options: argparse.Namespace) -> list[float]:
    """Real eyes and simulated ones; returns the retina's probabilities of the real ones."""
    everything = []
    print("Eyes that training never saw")
    if options.real.is_dir():
        sets = {name: held_out(options.real, name, options.eyes) for name in ("odir", "eyepacs", "drive", "diaretdb1")}
        sets |= {name: files(options.real / name) for name in ("camera_frames", "retina_dataset")}
        for name, pictures in sets.items():
            answers = Answers(pictures)
            print(" ", answers.line(name, "fundus"), flush=True)
            everything += answers.told
        print("  all real eyes: refused", share(sum(one.refused for one in everything), len(everything)))
        flagged = sum(one.kind not in OF_THE_RETINA for one in everything)
        print("  all real eyes: called something else than a retina", share(flagged, len(everything)))
    cohort = [(image, masks["vessels"]) for _, image, masks in render_cohort(8, 224, _SEED, True, "all")]
    print(" ", Answers(image for image, _ in cohort).line("phantoms of all classes", "fundus"))
    tortured = torture_set(options.others, _SEED, 384)
    print(" ", Answers(picture.image for picture in tortured).line("phantoms, tortured frames", "fundus"))
    rng = np.random.default_rng(_SEED)
    for name, make in (
        ("red_free", lambda pair: examples.red_free(pair[0], rng)),
        ("fluorescein", lambda pair: examples.fluorescein(*pair, rng)),
    ):
        print(" ", Answers(map(make, cohort)).line(f"phantoms, {name}", name))
    return [one.retina for one in everything]


def print_others(options: argparse.Namespace) -> list[float]:
    """Pictures that are not of the retina; returns the retina's probabilities of real photographs and drawn pictures."""
    found = []

    def show(name: str, pictures: Iterable[np.ndarray], wanted: str) -> None:
        answers = Answers(pictures)
        found.extend(one.retina for one in answers.told)
        print(" ", answers.line(name, wanted), flush=True)

    print("Other pictures that training never saw")
    unseen = photographs(options)
    for kind in KINDS[3:6]:
        show(f"drawn, {kind}", (drawn(kind, n, _SEED, []) for n in range(options.others)), kind)
    scenes = (examples.scene(np.random.default_rng([_SEED, n])) for n in range(options.others))
    show("drawn, photograph", scenes, "photograph")
    show("pages of scikit-image", [read_photograph(path).pixels for path in bundled_photographs(_PAGES)], "text")
    for name, pictures in unseen.items():
        show(name, pictures, "photograph")
        show(f"{name}, {_CROPS} crops each", crops(pictures, _SEED), "photograph")
    return found


def photographs(options: argparse.Namespace) -> dict[str, list[np.ndarray]]:
    import matplotlib
    import sklearn.datasets

    paths = bundled_photographs(_UNSEEN)
    assert not set(_UNSEEN) & set(PHOTOGRAPHS)
    paths += sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))
    paths.append(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    sets = {"photographs of packages": [read_photograph(path, at_least=384).pixels for path in paths]}
    folders = [options.real / "not_fundus", *options.photos]
    return sets | {folder.name: list(files(folder)) for folder in folders if folder.is_dir()}


def print_sizes() -> None:
    """One camera frame at many sizes."""
    changes = []
    for picture in torture_set(24, _SEED, 1536):
        retina = []
        for longest in (224, 512, max(picture.image.shape[:2])):
            scale = longest / max(picture.image.shape[:2])
            image = cv2.resize(picture.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            retina.append(picture_kind(image, find_field_of_view(image)).retina)
        changes.append(np.ptp(retina))
    print(f"One frame at 224, 512 and full size: the probability changes by {np.median(changes):.4f} in the median, "
          f"at most by {max(changes):.3f}, n {len(changes)}")  # fmt: skip


def print_time() -> None:
    cv2.setNumThreads(1)
    ((_, image, _),) = render_cohort(1, 2848, _SEED, False, ["normal"])
    buffer = io.BytesIO()
    Image.fromarray(cv2.resize(image, (3400, 2848))).save(buffer, "JPEG", quality=92)

    def decode() -> np.ndarray:
        jpeg = Image.open(io.BytesIO(buffer.getvalue()))
        jpeg.draft("RGB", (3400 // 4, 2848 // 4))
        return np.asarray(jpeg)

    small = decode()
    fov = find_field_of_view(small)
    decoding, finding, telling = (
        fastest(call) for call in (decode, lambda: find_field_of_view(small), lambda: picture_kind(small, fov))
    )
    print(f"Time of a 3400 x 2848 JPEG decoded at 1/4 ({small.shape[1]} x {small.shape[0]}): picture_kind takes "
          f"{telling / decoding:.2f} of the decoding, {telling / finding:.2f} of finding the field of view "
          f"({1e3 * telling:.2f} ms)")  # fmt: skip


def fastest(call: Callable[[], object], repeats: int = 40) -> float:
    """The least CPU seconds of a call."""
    took = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=Path("../shared/data"), help="folder with the real sets")
    parser.add_argument("--eyes", type=int, default=0, help="eyes of each real set; 0 = all")
    parser.add_argument("--others", type=int, default=200, help="drawn pictures of each kind")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of ordinary photographs")
    options = parser.parse_args()
    print_time()
    print_sizes()
    others = print_others(options)
    eyes = print_eyes(options)
    if eyes:
        answers = np.repeat([1, 0], [len(eyes), len(others)])
        print(f"AUC of real eyes against all other pictures: {roc_auc_score(answers, eyes + others):.4f}")


if __name__ == "__main__":
    main()
