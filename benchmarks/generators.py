"""Which generator comes nearest to real eyes of a rare class, in the same time.

    python benchmarks/generators.py ODIR --out RUNS [--models study,dcgan,dcgan-shared,light,light-shared,cyclegan]
                                    [--classes all] [--minutes 7.5] [--size 64] [--seed 0] [--projection-weights FILE]
                                    [--features timm:NAME --feature-weights FILE] [--truncation 1]
                                    [--shared-start RUN] [--also RUNS...]

Eyes with a single label are split by patient 65/10/25 (train, val, test; copies of a photograph kept together). Each model
learns each class for `--minutes` of wall time on the train patients: `study` is the study's DCGAN, `dcgan` the same with
differentiable augmentation and a moving average, `light` the light generator, both from nothing; the two that are `-shared`
begin with one shared start, which takes half of all classes' time together, so that they cost the same. `cyclegan`
translates normal train eyes, and `untouched` are those eyes as they are: what a translation has to be better than.

Judged on the test patients: KID with a 95 % interval over patients, recall and precision (3 neighbours), in the retina
space and in the one named with `--features`, which should not be that of `--projection-weights`, through which the light
generator's judge looks; beside them the floor, real train eyes of the class in the place of the generated ones. Nothing is
rejected, and every model shows 500 pictures. Recall depends on how many are shown, so it is that of as many as there are
train eyes, the mean over draws, which can be held against the floor's; after it stands that of all 500.
With `--shared-start` the shared ones begin with that of another run and learn a class for half of `--minutes`: how far a
class gets in how little time. With `--also` the pictures are drawn in turn from the runs of this folder and from those of
other seeds: are several generators more varied than one?

A killed run is continued by the same command; finished classes are not trained again. Sheets of the first 36 pictures lie in
RUNS/sheets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import write_image
from fundus_synth.data.splits import same_photographs, split
from fundus_synth.runtime.files import make_folder, read_json, write_json
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.distance_intervals import kid_interval, neighbor_intervals, recall_interval
from fundus_synth.synth.feature_cache import cached_features
from fundus_synth.synth.feature_spaces import FeatureSpace, comparable, feature_space
from fundus_synth.synth.held_back import ALL_CLASSES
from fundus_synth.synth.recording import sample_sheet
from fundus_synth.synth.sampling import sample
from fundus_synth.synth.train import FINISHED, train
from fundus_synth.synth.translate import translate_images

PICTURES = 500
SCALE_EYES = 400
MODELS = {
    "study": {"model": "dcgan", "augment": "none"},
    "dcgan": {"model": "dcgan", "shared_start": "none"},
    "dcgan-shared": {"model": "dcgan"},
    "light": {"model": "light", "shared_start": "none"},
    "light-shared": {"model": "light"},
    "cyclegan": {"model": "cyclegan"},
}
_SHARED = "-shared"


def eyes_with_one_label(folder: str) -> FundusDataset:
    """The eyes with a single label, split by patient, copies of a photograph in one part."""
    dataset = FundusDataset.open(folder)
    dataset = dataset.subset((dataset.column("label") != "").to_numpy())
    return split(dataset, ratios=(0.65, 0.10, 0.25), seed=0, groups=same_photographs(dataset))


def train_one(
    dataset: FundusDataset, label: str, name: str, out: Path, options: argparse.Namespace, classes: int
) -> Path:
    """The finished run of model `name` on class `label`; what is finished is not trained again."""
    how = {**MODELS[name], "size": options.size, "seed": options.seed, "quiet": options.quiet}
    if how["model"] == "light":
        how["projection_weights"] = options.projection_weights
    path, minutes = out / name / label, options.minutes
    if name.endswith(_SHARED):
        shared, minutes = options.shared_start, minutes / 2
        if shared is None:
            shared = out / name / ALL_CLASSES
            finish(dataset, ALL_CLASSES, shared, minutes=minutes * classes, **{**how, "shared_start": "none"})
        how["shared_start"] = str(shared)
    finish(dataset, label, path, minutes=minutes, **how)
    return path


def finish(dataset: FundusDataset, label: str, path: Path, **how: object) -> None:
    """Train, unless it is finished."""
    if not (path / FINISHED).exists():
        train(dataset, label, out=path, resume=path.exists(), **how)


def pictures_of(runs: list[Path], dataset: FundusDataset, size: int, truncation: float) -> np.ndarray:
    """500 pictures of the runs' generators in turn, none rejected: uint8 (500, size, size, 3)."""
    shown = np.empty((PICTURES, size, size, 3), np.uint8)
    for number, run in enumerate(runs):
        generator, info = load_generator(run)
        if info.architecture["model"] == "cyclegan":
            translated = translate_images(generator, normal_eyes(dataset, size))
            shown = shown[: len(translated)]
            shown[number :: len(runs)] = translated[number :: len(runs)]
        else:
            shown[number :: len(runs)] = sample(generator, list(range(PICTURES))[number :: len(runs)], truncation)
    return shown


def normal_eyes(dataset: FundusDataset, size: int) -> np.ndarray:
    """The first 500 normal train eyes: uint8 (500, size, size, 3)."""
    normal = dataset.of_class("normal").split("train")
    return np.asarray(image_cache(normal.subset(range(min(PICTURES, len(normal)))), size))


def judge(
    dataset: FundusDataset,
    label: str,
    shown: np.ndarray,
    groups: list[str] | None,
    spaces: list[FeatureSpace],
    size: int,
) -> dict:
    """KID, recall and precision of `shown` against the test patients' eyes of the class, in each space.

    "recall of as many" is that of as many pictures as the class has train eyes, at most 500.
    Features are scaled by train eyes of all classes: few test eyes would set the scale badly.
    """
    seen = dataset.split("train")
    some = np.asarray(image_cache(seen.subset(range(0, len(seen), max(1, len(seen) // SCALE_EYES))), size))
    test = dataset.of_class(label).split("test")
    real = np.asarray(image_cache(test, size))
    as_many = min(len(dataset.of_class(label).split("train")), PICTURES, len(shown))
    figures = {}
    for space in spaces:
        _, eyes, made = comparable(
            space, *(cached_features(space, images, workers=0) for images in (some, real, shown))
        )
        distance = kid_interval(made, eyes, groups, test.patient_keys)
        neighbors = neighbor_intervals(eyes, made, test.patient_keys, groups)
        measured = {
            "kid": distance,
            "recall of as many": recall_interval(eyes, made, as_many, test.patient_keys),
            **{name: neighbors[name] for name in ("recall", "precision")},
        }
        figures[space.name] = {name: [one.value, one.low, one.high] for name, one in measured.items()}
    return figures


def result(
    dataset: FundusDataset, label: str, name: str, spaces: list[FeatureSpace], options: argparse.Namespace, classes: int
) -> dict:
    """The figures of one model on one class, trained if need be, and kept in a file; "floor" are real train eyes."""
    out = Path(options.out)
    spread = "" if options.truncation == 1 else f"-truncation{options.truncation:g}"
    spread += f"-of{len(options.also) + 1}" if options.also else ""
    kept = out / "figures" / f"{name}{spread}-{label}.json"
    if not kept.exists():
        real = dataset.of_class(label).split("train")
        if name == "floor":
            shown, groups = np.asarray(image_cache(real, options.size)), real.patient_keys
        elif name == "untouched":
            shown, groups = normal_eyes(dataset, options.size), None
        else:
            run = train_one(dataset, label, name, out, options, classes)
            runs = [run, *(folder / name / label for folder in options.also)]
            shown, groups = pictures_of(runs, dataset, options.size, options.truncation), None
            make_folder(out / "sheets")
            write_image(out / "sheets" / f"{name}{spread}-{label}.png", sample_sheet(shown[:36]))
        make_folder(kept.parent)
        write_json(kept, judge(dataset, label, shown, groups, spaces, options.size))
    return read_json(kept)


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--classes", default="all")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--projection-weights", help="of the frozen network in front of the light generator's judge")
    parser.add_argument("--features", help="a second feature space, timm:NAME")
    parser.add_argument("--feature-weights")
    parser.add_argument(
        "--shared-start", type=Path, help="RUNS/light-shared/all-classes of an earlier run, for the -shared ones"
    )
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="RUNS of other seeds, finished")
    parser.add_argument("--truncation", type=float, default=1.0, help="what latent vectors are scaled by")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    dataset = eyes_with_one_label(options.data)
    every = list(dataset.class_counts())
    labels = every if options.classes == "all" else options.classes.split(",")
    spaces = [feature_space("retina")]
    if options.features:
        spaces.append(feature_space(options.features, options.feature_weights))
    print(
        f"{'class':<14}{'eyes':>6}{'test':>6}  {'model':<14}"
        + "".join(f"{space.name + ': KID, recall':<58}" for space in spaces)
    )
    for label in labels:
        of_class = dataset.of_class(label)
        for name in ("floor", *options.models.split(",")):
            if label == "normal" and name in ("cyclegan", "untouched"):
                continue  # it is what they begin with
            figures = result(dataset, label, name, spaces, options, len(every))
            line = f"{label:<14}{len(of_class.split('train')):>6}{len(of_class.split('test')):>6}  {name:<14}"
            for space in spaces:
                kid, recall = figures[space.name]["kid"], figures[space.name]["recall of as many"]
                cell = "{:.3f} ({:.3f} to {:.3f}), {:.2f} ({:.2f} to {:.2f})".format(*kid, *recall)
                line += f"{cell + ', {:.2f}'.format(figures[space.name]['recall'][0]):<58}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
