"""python benchmarks/decision.py --run RUN --data DATASET [--not-fundus FOLDER] [--other DATASET ...] [--others 150]

When does a classifier say nothing, and is that right? On the test patients of its own dataset, whom neither the network nor the
rules have seen:

- how often the conformal set of each class holds it, beside the range in which 95 % of such figures lie when the guarantee is kept
  exactly (beta-binomial: both the validation and the test patients are a sample), and how large the sets are;
- what it costs that the validation patients also chose the epoch and the temperature: the coverage found against that after
  exchanging validation and test patients at random, which is what patients of equal standing would give;
- what is answered, referred, taken again; accuracy of the answers and of all.

Then pictures that are no retina (drawn ones of other seeds than `picture_kind` was trained with, the photographs of
--not-fundus) and the eyes of other cameras: the AUC against the test eyes of what picture_kind says, of the features' distance,
and of both, the larger of distance over its limit and limit over probability of a retina; and what is answered. Bootstrap over
patients. Pictures without a field of view, which a prediction refuses by itself, are judged as whole frames here.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import betabinom, binomtest, rankdata

from fundus_synth.classify.checkpoint import About, load_classifier
from fundus_synth.classify.decision import Decision, load_decision
from fundus_synth.classify.deploy.answer import ANSWER, REFER, RETAKE, Rules, give_answer
from fundus_synth.classify.deploy.features import told_and_features
from fundus_synth.classify.deploy.fit_rules import fit_rules, rules_of
from fundus_synth.classify.images import ImageSource
from fundus_synth.data.cache import fit_square, image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import is_image_name, read_image
from fundus_synth.data.schema import patient_hash
from fundus_synth.data.wider_targets import target_of
from fundus_synth.preprocess import picture_kind_examples as examples
from fundus_synth.preprocess.field_of_view import HOPELESS, find_field_of_view
from fundus_synth.preprocess.picture_kind import picture_kind
from fundus_synth.preprocess.quality import measure_quality
from fundus_synth.preprocess.standardize import STANDARD_SIZE, standardize

_SEED = 4321
_RESAMPLES = 500
_CROPS = 8


@dataclass(frozen=True)
class Seen:
    """What is known of n pictures before the rules are asked; truth is -1 where there is none."""

    told: np.ndarray
    features: np.ndarray
    quality: list[tuple[float, str]]
    retina: np.ndarray
    field: np.ndarray
    patients: np.ndarray
    truth: np.ndarray

    def actions(self, rules: Rules, decision: Decision) -> list:
        probabilities = decision.calibrated(self.told)
        return [
            give_answer(rules, p, f, *q, r)
            for p, f, q, r in zip(probabilities, self.features, self.quality, self.retina, strict=True)
        ]

    def scores(self, rules: Rules) -> dict[str, np.ndarray]:
        """How foreign, three ways."""
        far, kind = rules.familiarity.unfamiliarity(self.features), rules.retina / np.maximum(self.retina, 1e-9)
        return {"kind": kind, "familiarity": far, "both": np.maximum(far, kind)}


class Classifier:
    """The network of a run, its facts, and the dataset it was trained on."""

    def __init__(self, run: Path, data: Path):
        self.model, self.about = load_classifier(run)
        self.decision = load_decision(run, self.about)
        self.dataset = FundusDataset.open(data)
        self.truth = target_of(self.about.target, self.about.classes).labels(self.dataset)
        self.patients = np.array([patient_hash(name) for name in self.dataset.patient_keys])

    def split(self, name: str) -> Seen:
        """The images of a split of the run, as the dataset holds them."""
        theirs = np.isin(self.patients, self.about.patients[name])
        rows = np.flatnonzero(theirs & (self.truth >= 0))
        source = ImageSource(image_cache(self.dataset, self.model.size), rows)
        judged = [judge(self.dataset.read(row)) for row in rows]
        return self._seen(source, judged, self.patients[rows], self.truth[rows])

    def pictures(self, pictures: Iterable[np.ndarray], patients: np.ndarray | None = None) -> Seen:
        """Camera files, on the way that a prediction takes them."""
        squares, judged = [], []
        for picture in pictures:
            fov = find_field_of_view(picture)
            found = fov.confidence >= HOPELESS
            square = (
                standardize(picture, STANDARD_SIZE, "none", fov).image if found else fit_square(picture, STANDARD_SIZE)
            )
            quality = measure_quality(square)
            judged.append(((quality.score, quality.reason), picture_kind(picture, fov).retina, found))
            squares.append(fit_square(square, self.model.size))
        count = len(squares)
        names = np.arange(count) if patients is None else patients
        return self._seen(np.stack(squares), judged, names, np.full(count, -1))

    def _seen(self, images, judged: list, patients: np.ndarray, truth: np.ndarray) -> Seen:
        told, features = told_and_features(self.model, images)
        quality, retina, found = zip(*judged, strict=True)
        return Seen(told, features, list(quality), np.array(retina), np.array(found), patients, truth)


def judge(image: np.ndarray) -> tuple:
    """Quality, probability of a retina and whether there is a field of view, of an image of a dataset."""
    fov = find_field_of_view(image)
    quality = measure_quality(fit_square(image, max(image.shape[:2])))
    return (quality.score, quality.reason), picture_kind(image, fov).retina, fov.confidence >= HOPELESS


def share(part: int, whole: int) -> str:
    if not whole:
        return "none"
    interval = binomtest(int(part), int(whole)).proportion_ci(method="wilson")
    return f"{part}/{whole} = {part / whole:.3f} ({interval.low:.3f} .. {interval.high:.3f})"


def first_images(patients: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """One image of each class of each patient, drawn at random: bool (n,)."""
    order = np.random.default_rng(_SEED).permutation(len(truth))
    _, first = np.unique([f"{patients[i]} {truth[i]}" for i in order], return_index=True)
    chosen = np.zeros(len(truth), bool)
    chosen[order[first]] = True
    return chosen


def print_coverage(about: About, rules: Rules, test: Seen, probabilities: np.ndarray) -> None:
    members, one = rules.sets.members(probabilities), first_images(test.patients, test.truth)
    print(f"Coverage at {rules.level:.0%} on test patients, one image of each class of a patient")
    for k, name in enumerate(about.classes):
        mine = one & (test.truth == k)
        n, count = rules.sets.patients[k], int(mine.sum())
        rank = min(int(np.ceil((n + 1) * rules.sets.levels[k] - 1e-9)), n)
        expected = betabinom(count, rank, n + 1 - rank)
        low, high = expected.ppf([0.025, 0.975]) / max(count, 1)
        print(f"  {name:14} {share(members[mine, k].sum(), count):32} guaranteed {rules.sets.levels[k]:.2f} by {n:3} patients; "
              f"expected {low:.2f} .. {high:.2f}; mean size of its sets {members[test.truth == k].sum(1).mean():.2f}")  # fmt: skip
    covered = members[np.arange(len(test.truth)), test.truth]
    print(f"  all, by images {share(covered.sum(), len(covered))}; mean size {members.sum(1).mean():.2f}; "
          f"sizes 0..{len(about.classes)}: {np.bincount(members.sum(1), minlength=len(about.classes) + 1).tolist()}")  # fmt: skip


def print_cost_of_reuse(classifier: Classifier, val: Seen, test: Seen, level: float) -> None:
    """Coverage found, and after exchanging patients at random between validation and test."""
    told, truth = np.concatenate([val.told, test.told]), np.concatenate([val.truth, test.truth])
    patients = np.concatenate([val.patients, test.patients])
    names = np.unique(patients)
    own = np.isin(names, val.patients)

    def coverage(of_val: np.ndarray) -> float:
        """The mean over classes of the share of covered test images."""
        fitted = np.isin(patients, names[of_val])
        rules = rules_of(
            classifier.about, classifier.decision, truth[fitted], told[fitted], patients[fitted], level=level
        )
        members = rules.sets.members(classifier.decision.calibrated(told[~fitted]))
        covered, classes = members[np.arange(len(members)), truth[~fitted]], truth[~fitted]
        return float(np.mean([covered[classes == k].mean() for k in np.unique(classes)]))

    rng = np.random.default_rng(_SEED)
    exchanged = [coverage(rng.permutation(own)) for _ in range(_RESAMPLES)]
    found = coverage(own)
    low, high = np.quantile(exchanged, [0.025, 0.975])
    mean = float(np.mean(exchanged))
    print(f"Mean coverage of the classes: {found:.3f}; with validation and test patients exchanged at random {mean:.3f}, "
          f"95 % of exchanges {low:.3f} .. {high:.3f}: reuse costs {mean - found:+.3f}")  # fmt: skip


def print_levels(classifier: Classifier, val: Seen, test: Seen) -> None:
    about, decision = classifier.about, classifier.decision
    for level in (0.8, 0.9, 0.95):
        sets = rules_of(about, decision, val.truth, val.told, val.patients, level=level).sets
        members = sets.members(decision.calibrated(test.told))
        covered, single = members[np.arange(len(members)), test.truth], members.sum(1) == 1
        print(f"  sets at {level:.0%}: coverage {covered.mean():.3f}, mean size {members.sum(1).mean():.2f}, one class in "
              f"{share(single.sum(), len(single))}, right among these {share(covered[single].sum(), single.sum())}")  # fmt: skip


def print_answers(classifier: Classifier, rules: Rules, test: Seen) -> None:
    answers = test.actions(rules, classifier.decision)
    action, label = np.array([one.action for one in answers]), np.array([one.label for one in answers])
    right = label == np.asarray(classifier.about.classes)[test.truth]
    print("Test eyes")
    print(f"  accuracy of all {share(right.sum(), len(right))}; among the answered "
          f"{share(right[action == ANSWER].sum(), (action == ANSWER).sum())}")  # fmt: skip
    for one in (ANSWER, REFER, RETAKE):
        print(f"  {one:7} {share((action == one).sum(), len(action))}")
    for reason, count in Counter(one.reason.split("(")[0].split(":")[0] for one in answers).most_common(12):
        print(f"    {count:4} {reason}")
    for k, name in enumerate(classifier.about.classes):
        mine = test.truth == k
        parts = ", ".join(f"{one} {np.mean(action[mine] == one):.2f}" for one in (ANSWER, REFER, RETAKE))
        print(f"  {name:14} {parts}; answered and wrong {np.sum(mine & (action == ANSWER) & ~right)}")


def print_foreign(classifier: Classifier, rules: Rules, test: Seen, sets: dict[str, Seen]) -> None:
    print("AUC against test eyes (bootstrap over patients), and what is answered")
    for name, seen in sets.items():
        ours, theirs = test.scores(rules), seen.scores(rules)
        told = "  ".join(f"{way} {auc_line(ours[way], theirs[way], test.patients, seen.patients)}" for way in ours)
        actions = Counter(one.action for one in seen.actions(rules, classifier.decision))
        refused = np.mean([far > 1 for far in theirs["both"]])
        print(f"  {name:28} n {len(seen.told):4}  {told}  by these two refused {refused:.3f}; no field of view "
              f"{np.mean(~seen.field):.2f}; {dict(actions)}", flush=True)  # fmt: skip


def auc_line(eyes: np.ndarray, others: np.ndarray, people: np.ndarray, other_people: np.ndarray) -> str:
    rng = np.random.default_rng(_SEED)
    groups = [np.unique(names, return_inverse=True)[1] for names in (people, other_people)]
    values = []
    for _ in range(_RESAMPLES):
        times = [np.bincount(rng.integers(0, g.max() + 1, g.max() + 1), minlength=g.max() + 1)[g] for g in groups]
        values.append(auc(np.repeat(eyes, times[0]), np.repeat(others, times[1])))
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{auc(eyes, others):.3f} ({low:.3f} .. {high:.3f})"


def auc(low: np.ndarray, high: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([low, high]))[len(low) :]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))


def foreign(options: argparse.Namespace, classifier: Classifier) -> Iterator[tuple[str, Seen]]:
    for name in ("external_eye", "blank", "text", "scene"):
        yield (
            f"drawn, {name}",
            classifier.pictures(
                getattr(examples, name)(np.random.default_rng([_SEED, n])) for n in range(options.others)
            ),
        )
    yield (
        "noise",
        classifier.pictures(
            np.random.default_rng([_SEED, n]).integers(0, 256, (256, 256, 3)).astype(np.uint8)
            for n in range(options.others)
        ),
    )
    if options.not_fundus is not None:
        photos = [read_image(path) for path in sorted(options.not_fundus.iterdir()) if is_image_name(path)]
        yield "photographs", classifier.pictures(photos)
        crops = [examples.photograph(one, np.random.default_rng([_SEED, n])) for one in photos for n in range(_CROPS)]
        yield f"photographs, {_CROPS} crops each", classifier.pictures(crops, np.repeat(np.arange(len(photos)), _CROPS))
    for path in options.other:
        dataset = FundusDataset.open(path)
        rows = np.random.default_rng(_SEED).permutation(len(dataset))[: options.eyes]
        yield (
            f"eyes of {path.name}",
            classifier.pictures((dataset.read(int(row)) for row in rows), np.asarray(dataset.patient_keys)[rows]),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder of a classifier of one class an image")
    parser.add_argument("--data", type=Path, required=True, help="the dataset folder it was trained on")
    parser.add_argument("--not-fundus", type=Path, help="folder of ordinary photographs")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="dataset folders of other cameras")
    parser.add_argument("--others", type=int, default=150, help="drawn pictures of each kind")
    parser.add_argument("--eyes", type=int, default=250, help="eyes of each other camera, at most")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    classifier = Classifier(options.run, options.data)
    rules = fit_rules(options.run, options.data, device="cpu", quiet=True)
    print(f"Size of the rules: {len(str(rules.to_dict())) / 1024:.0f} KB;", *rules.notes)
    val, test = classifier.split("val"), classifier.split("test")
    print_coverage(classifier.about, rules, test, classifier.decision.calibrated(test.told))
    print_cost_of_reuse(classifier, val, test, rules.level)
    print_levels(classifier, val, test)
    print_answers(classifier, rules, test)
    unfamiliar = rules.familiarity.unfamiliarity(test.features) > 1
    print(f"  unfamiliar among test eyes {share(unfamiliar.sum(), len(unfamiliar))}")
    print_foreign(classifier, rules, test, dict(foreign(options, classifier)))
    plain = replace(rules, quality=0.0)
    actions = Counter(one.action for one in test.actions(plain, classifier.decision))
    print(f"Test eyes without a limit of quality: {dict(actions)}")


if __name__ == "__main__":
    main()
