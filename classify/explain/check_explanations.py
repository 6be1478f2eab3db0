"""`fundus-classify check-explanations`: are the maps of each method faithful to this classifier?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...data.dataset import FundusDataset
from ...data.targets import HEMOGLOBIN
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ...runtime.files import write_json
from ...runtime.progress import Progress
from ...version import __version__
from ..backbones import Classifier
from ..checkpoint import load_classifier, weights_hash
from ..heads import ORDERED
from ..predictions import predict_images
from ..tasks import Task, task_of
from .faithfulness import FILE, KIND, Attribute, Measured, Verdict, measure, verdicts
from .faithfulness_cases import Cases, make_cases, mask_kinds, recognized
from .insertion_deletion import BASELINES, BLUR, Probability
from .methods import METHODS, attribute, check_method
from .randomization import randomized

ALL = "all"
_RANDOMIZED_IMAGES = 24


@dataclass(frozen=True)
class Faithfulness:
    """What `check_explanations` found.

    Attributes:
        folder: where report.html is.
        weights: SHA-256 of the checkpoint whose maps were checked.
        dataset: its name.
        cases: what was checked.
        mask_kinds: what `cases.masks` hold.
        unrecognized: images of the classes that were left out, because the classifier did not recognise them.
        measured, verdicts: by method.
        impossible: {method: why this network does not allow it}.
    """

    folder: Path
    weights: str
    dataset: str
    cases: Cases
    classes: tuple[str, ...]
    mask_kinds: tuple[str, ...]
    unrecognized: int
    baseline: str
    measured: dict[str, Measured]
    verdicts: dict[str, Verdict]
    impossible: dict[str, str]

    def summary(self) -> dict:
        """Plain values: what faithfulness.json holds."""
        return {
            "kind": KIND, "version": __version__, "weights": self.weights, "dataset": self.dataset, "images": len(self.cases),
            "patients": len(set(self.cases.patients)), "unrecognized": self.unrecognized,
            "classes": [self.classes[k] for k in np.unique(self.cases.targets)], "baseline": self.baseline,
            "masks": list(self.mask_kinds), "images_with_masks": int(self.cases.masks.any(axis=(1, 2)).sum()),
            "methods": {name: {"passes": verdict.passes, "why": verdict.why, **self.measured[name].summary()}
                        for name, verdict in self.verdicts.items()},
            "impossible": self.impossible,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people."""
        told = [f"{name}: {'passes' if one.passes else 'fails'}. {one.why}" for name, one in self.verdicts.items()]
        told += [f"{name}: not possible. {why}" for name, why in self.impossible.items()]
        return [*told, f"report: {self.folder / 'report.html'}"]


def check_explanations(
    run: Path | str, dataset: FundusDataset | Path | str, *, methods: str | Sequence[str] = ALL, of_class: str = "",
    masks: Sequence[str] = (), count: int = 60, baseline: str = BLUR, steps: int = 20, out: Path | str | None = None,
    seed: int = 0, device: str = "auto", quiet: bool = False,
) -> Faithfulness:  # fmt: skip
    """Check maps on unseen patients whose class the classifier recognised: insertion and deletion, pointing, randomisation.

    Only what was recognised is checked: where the classifier saw nothing, a map has nothing to explain. Of healthy eyes
    ("normal", grade 0, the negative class of an expression) nothing is checked either, unless asked for: what they show is
    that nothing is there, and neither a blurred photograph nor a mask can tell whether a map is right about that.

    Args:
        methods: names of `methods.METHODS`, or "all": those that this network allows.
        of_class: only this class. All images of a dataset without labels, e.g. one of diseased eyes, count as of this class.
        masks: kinds of masks that hold what should be found; by default all but those of the anatomy. 128 of 255 and more is
            in a mask, and a pixel at the classifier's size when any part of it is.
        count: how many images, drawn at random.
        baseline: "blur" or "mean", what deletion leaves.
        steps: of the curves.
        out: folder of the page; RUN/check-explanations-<dataset> by default. faithfulness.json goes into RUN, where it stands
            for the last check.

    Raises:
        UserError: no classifier, one that tells haemoglobin or has a head for grades, unknown options, or no unseen image to check.
    """
    asked = METHODS if methods == ALL else tuple(methods)
    _check_options(asked, baseline)
    where = choose_device(device)
    model, about = load_classifier(run, where)
    if about.target == HEMOGLOBIN:
        raise UserError("tells a number; maps can be checked for classes only", path=run)
    if model.head in ORDERED:
        raise UserError(f"has head {model.head}, whose maps show what makes the grade lower or higher; maps can be checked for "
                        "classes only", path=run, hint="Train one with --head linear.")  # fmt: skip
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    kinds = mask_kinds(dataset, masks)
    rows, targets, unrecognized = recognized(run, model, about, dataset, of_class, where, quiet)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    cases = make_cases(model, dataset, rows[chosen], targets[chosen], kinds, baseline, quiet)
    possible, impossible = _possible(model, cases, asked, where, strict=methods != ALL)
    told = probability_of(model, task_of(about.target), where)
    measured = _measure_all(possible, model, cases, told, steps, seed, where, quiet)
    folder = Path(out) if out is not None else Path(run) / f"check-explanations-{dataset.name}"
    found = Faithfulness(folder, weights_hash(run), dataset.name, cases, about.classes, kinds, unrecognized, baseline, measured,
                         verdicts(measured), impossible)  # fmt: skip
    from .faithfulness_report import write_report  # it names this module's result

    write_report(found, model.name)
    write_json(Path(run) / FILE, found.summary())
    return found


def _check_options(methods: Sequence[str], baseline: str) -> None:
    for name in methods:
        check_method(name)
    if baseline not in BASELINES:
        raise UserError(f"baseline {baseline!r} is not known", hint=f"Use {' or '.join(BASELINES)}.")


def _measure_all(
    methods: Sequence[str], model: Classifier, cases: Cases, told: Probability, steps: int, seed: int, device: torch.device,
    quiet: bool,
) -> dict[str, Measured]:  # fmt: skip
    networks = randomized(model, cases.images, device, seed)
    total = len(methods) * (2 * len(cases) + len(networks))
    with Progress(total, "checking maps", "measurements", quiet=quiet) as progress:
        return {
            name: measure(_attribute(name, device, seed), model, networks, cases, told, steps=steps, seed=seed,
                          randomized_images=_RANDOMIZED_IMAGES, advance=progress.advance)
            for name in methods
        }  # fmt: skip


def probability_of(model: Classifier, task: Task, device: torch.device | str) -> Probability:
    """What `insertion_deletion` asks for: the probability that this classifier gives to a class."""
    return lambda images, target: predict_images(model, images, device=device, task=task)[:, target]


def _attribute(method: str, device: torch.device | str, seed: int) -> Attribute:
    def maps(model: nn.Module, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return attribute(model, images, targets, method, seed=seed, device=device)

    return maps


def _possible(
    model: Classifier, cases: Cases, methods: Sequence[str], device: torch.device, strict: bool
) -> tuple[list[str], dict[str, str]]:  # fmt: skip
    """The methods that this network allows, and why it does not allow the others."""
    possible, impossible = [], {}
    for name in methods:
        try:
            attribute(model, cases.images[:1], cases.targets[:1], name, device=device)
            possible.append(name)
        except UserError as error:
            if strict:
                raise
            impossible[name] = str(error)
    if not possible:
        raise UserError(next(iter(impossible.values())))
    return possible, impossible
