"""What the studies used and what they published: the backbones, size, head and target that `compare-backbones --study` takes,
and the figures that it prints beside its own.

A: anaemia from fundus photographs, thesis, 2021. B: diabetic retinopathy on a smartphone, 2024. C: grading with ResNeXt101, 2019.
D: what transfer learning buys. E: eight ocular diseases, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..runtime.errors import UserError
from .heads import CBAM, DENSE, LINEAR, REGRESSION


@dataclass(frozen=True)
class Published:
    """One model of a study.

    Attributes:
        model: as the study calls it, and on what.
        backbone: the timm name that it is.
        values: {metric of `metrics.score`, or "parameters", "multiply_adds", "file_bytes", "milliseconds": value}.
    """

    model: str
    backbone: str
    values: dict[str, float]


@dataclass(frozen=True)
class Study:
    """A study's networks and figures.

    Attributes:
        letter: A to E.
        title: one line.
        backbones: in the study's order.
        size: side of its images in pixels.
        head: see `heads`.
        target: see `data.targets`.
        classes: how many it told apart.
        published: its figures.
        flaw: what a reviewer would object to.
        notes: what the study does not say, or what is done otherwise here.
    """

    letter: str
    title: str
    backbones: tuple[str, ...]
    size: int
    head: str
    target: str
    classes: int
    published: tuple[Published, ...]
    flaw: str
    notes: tuple[str, ...] = field(default=())


STUDIES = {
    study.letter: study
    for study in (
        Study(
            "A", "anaemia from fundus photographs", ("resnet50", "mobilenetv2_100", "densenet121"), 224, DENSE, "anemic", 2,
            (
                Published("ResNet50", "resnet50", {"auroc": 0.6223, "precision": 0.59, "balanced_log_loss": 0.74}),
                Published("MobileNetV2", "mobilenetv2_100", {"auroc": 0.6719, "precision": 0.67, "balanced_log_loss": 0.584}),
                Published("DenseNet121", "densenet121", {"auroc": 0.6649, "precision": 0.587, "balanced_log_loss": 0.687}),
            ),
            "The study split by image, not by patient: photographs of one patient were trained on and tested on.",
        ),
        Study(
            "B", "diabetic retinopathy on a smartphone", ("mobilenetv3_small_100", "mobilenetv3_large_100"), 512, CBAM,
            "dr: grade >= 1", 2,
            (
                Published("MobileNetV3 small + CBAM, APTOS", "mobilenetv3_small_100",
                          {"accuracy": 0.9817, "macro_f1": 0.98, "parameters": 2.9e6}),
                Published("MobileNetV3 small + CBAM, Messidor", "mobilenetv3_small_100", {"accuracy": 0.8917}),
                Published("MobileNetV3 large + CBAM, Messidor", "mobilenetv3_large_100",
                          {"accuracy": 0.9388, "macro_f1": 0.94, "parameters": 5.4e6, "multiply_adds": 225e6}),
            ),
            "The study made augmented copies before it split: near-copies of test images were trained on, which inflates its "
            "figures.",
            ("Its parameters and multiply-adds are of the networks with their usual head, at 224 px.",),
        ),
        Study(
            "C", "grading of diabetic retinopathy, five grades", ("resnext101_32x8d", "efficientnet_b0"), 224, REGRESSION, "grade",
            5,
            (
                Published("ResNeXt101", "resnext101_32x8d",
                          {"parameters": 44e6, "file_bytes": 2e9, "milliseconds": 300_000}),
            ),
            "The study published no interval and no held-out patients, and found its network too large and too slow to be used.",
            ("A grade begins midway between two numbers here, for every network; `train --head regression` fits the cuts on val.",
             "44 million parameters are those of ResNeXt101 32x4d; 32x8d has twice as many.",
             "Its time is a lower bound, more than five minutes an image without a GPU. EfficientNet is what it wished for.",
             "The size of its images is not known; 224 px is ours."),
        ),
        Study(
            "D", "what transfer learning buys, five grades", ("resnet18",), 224, LINEAR, "grade", 5,
            (
                Published("reference, from scratch", "resnet18",
                          {"accuracy": 0.72, "quadratic_kappa": 0.74, "log_loss": 0.79}),
                Published("ImageNet weights, 100 % of the patients", "resnet18",
                          {"accuracy": 0.82, "quadratic_kappa": 0.89, "log_loss": 0.62}),
                Published("ResNet18 that it cites", "resnet18", {"accuracy": 0.70}),
            ),
            "The study published one run of each and no interval.",
            ("Its network and the size of its images are not known; resnet18, which it cites, and 224 px are ours.",
             "Its shares of the training data are the matter of learning-curve."),
        ),
        Study(
            "E", "eight ocular diseases", ("simple_cnn", "vgg13_bn", "inception_v3"), 512, LINEAR, "label", 8,
            (
                Published("CNN", "simple_cnn", {"micro_f1": 0.45}),
                Published("VGG13-bn, ImageNet weights", "vgg13_bn", {"micro_f1": 0.55}),
                Published("Inception-v3, ImageNet weights", "inception_v3", {"micro_f1": 0.52}),
            ),
            "The study gave both eyes the labels of the patient, and compared one run of each without an interval: its "
            "networks from ImageNet weights with one from random weights.",
            ("Its images may have several labels; here each image has one, and micro F1 is the accuracy.",),
        ),
    )
}  # fmt: skip


def study_named(letter: str) -> Study:
    """The study called A, B, C, D or E.

    Raises:
        UserError: another letter.
    """
    try:
        return STUDIES[letter.upper()]
    except KeyError as error:
        known = ", ".join(f"{study.letter} ({study.title})" for study in STUDIES.values())
        raise UserError(f"no study is called {letter!r}", hint=f"Use {known}.") from error
