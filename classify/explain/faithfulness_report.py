"""The page of `check-explanations`: verdict on each method, its curves, where it points, and what is left of its maps when the
network forgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from ...runtime.report import Report, new_figure
from .faithfulness import MOST_ALIKE, Measured, nan_mean
from .overlay import color_scale, lay_over
from .pointing import SCORES

if TYPE_CHECKING:
    from .check_explanations import Faithfulness

_TILE = 160
_SHOWN = 2
_INSERTION, _DELETION = "#0072b2", "#d55e00"  # Okabe and Ito 2008, told apart by all
_MARKERS = "osD^v<>P"
_SCORE_NAMES = {"pointing": "pointing game", "mass": "mass accuracy", "rank": "rank accuracy"}


def write_report(found: Faithfulness, backbone: str) -> Path:
    """Write report.html into the folder; returns its path."""
    passed = [name for name, one in found.verdicts.items() if one.passes]
    lead = f"{len(passed)} of {len(found.verdicts)} methods pass: {', '.join(passed) or 'none'}."
    report = Report(f"May the maps of {backbone} be believed?", lead)
    report.points([f"{name} {'passes' if one.passes else 'fails'}. {one.why}" for name, one in found.verdicts.items()])
    if found.impossible:
        report.points([f"{name} is not possible: {why}" for name, why in found.impossible.items()])
    _add_order(report, found)
    _add_randomization(report, found)
    if found.cases.masks.any():
        _add_masks(report, found)
    _add_method(report, found)
    return report.write(found.folder / "report.html")


def _add_order(report: Report, found: Faithfulness) -> None:
    report.section("Does the order of the pixels matter?")
    report.figure(_gains(found.measured), "Insertion minus deletion area, over that of random maps of the same grain, with 95 % "
                                          "intervals over patients. Right of 0 the map knows something.")  # fmt: skip
    rows = []
    for name, one in found.measured.items():
        rows.append({
            "method": name, "insertion": f"{one.curves.insertion_area.mean():.3f}",
            "random insertion": f"{one.chance.insertion_area.mean():.3f}", "deletion": f"{one.curves.deletion_area.mean():.3f}",
            "random deletion": f"{one.chance.deletion_area.mean():.3f}",
            "insertion - deletion, over random": str(one.better_than_random),
        })  # fmt: skip
    report.table(
        pd.DataFrame(rows), "Area under the class's probability: of insertion large is good, of deletion small is."
    )
    for name, one in found.measured.items():
        report.figure(_curves(one), f"{name}: mean probability of the class.")


def _gains(measured: dict[str, Measured]) -> object:
    figure, axis = new_figure(5.6, 0.8 + 0.36 * len(measured))
    for place, one in enumerate(measured.values()):
        gain = one.better_than_random
        axis.plot([gain.low, gain.high], [place, place], color=_INSERTION, linewidth=2)
        axis.plot(gain.estimate, place, "o", color=_INSERTION)
    axis.axvline(0, color="#5c656e", linewidth=0.8)
    axis.set_yticks(range(len(measured)), measured)
    axis.set_xlabel("area")
    axis.invert_yaxis()
    return figure


def _curves(one: Measured) -> object:
    figure, axis = new_figure(5.6, 2.6)
    share = np.linspace(0, 100, one.curves.insertion.shape[1])
    for kind, color in (("insertion", _INSERTION), ("deletion", _DELETION)):
        axis.plot(share, getattr(one.curves, kind).mean(axis=0), color=color, label=kind)
        axis.plot(share, getattr(one.chance, kind).mean(axis=0), "--", color=color, linewidth=1, label=f"random {kind}")
    axis.set(xlabel="pixels of the field, %", ylabel="probability", ylim=(0, 1), xlim=(0, 100))
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _add_randomization(report: Report, found: Faithfulness) -> None:
    report.section("Does the map need what the network learned?")
    first = next(iter(found.measured.values())).cascade
    report.figure(_stages(found.measured), "Rank correlation of the maps with those of the trained network, as more of it is "
                                           "random, from the last layer down. A faithful map becomes another one.")  # fmt: skip
    rows = []
    for name, one in found.measured.items():
        rows.append({
            "method": name, "rank correlation": str(one.alike_when_random),
            "structural similarity": float(np.nanmean(one.cascade.structural_similarity[-1])),
            "head alone random": nan_mean(one.cascade.rank_correlation[0]),
            "of another photograph": nan_mean(one.cascade.other_image),
        })  # fmt: skip
    report.table(pd.DataFrame(rows), f"Maps of the fully random network against the trained one's, on {len(first.last)} images; "
                 "beside it the rank correlation of the trained network's maps of two different photographs.")  # fmt: skip
    for i in range(min(_SHOWN, len(first.last))):
        tiles, captions = _example(found, i)
        report.images(tiles, captions, 2, photographs=True, width=_TILE,
                      caption="A photograph with its maps, of the trained network and of the random one, each with the scale of "
                              "its own strongest value.")  # fmt: skip


def _stages(measured: dict[str, Measured]) -> object:
    figure, axis = new_figure(5.6, 3.4)
    stages = next(iter(measured.values())).cascade.stages
    colors = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1c2024", "#8a8f94")
    for (name, one), color, marker in zip(measured.items(), colors, _MARKERS, strict=False):
        values = [1.0, *(nan_mean(row) for row in one.cascade.rank_correlation)]
        axis.plot(range(len(values)), values, f"{marker}-", color=color, markersize=4, linewidth=1.2, label=name)
    axis.axhline(MOST_ALIKE, color="#5c656e", linewidth=0.8, linestyle=":")
    axis.set(ylabel="rank correlation", xlabel="random from the end down to")
    names = ["nothing", *(stage.removeprefix("network.") for stage in stages[:-1]), "all"]
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize="small")
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _example(found: Faithfulness, index: int) -> tuple[list[np.ndarray], list[str]]:
    """The photograph with its mask outlined, what deletion leaves of it, then of each method both maps, in rows of two."""
    cases = found.cases
    photograph = _enlarged(cases.images[index])
    mask = cv2.resize(cases.masks[index].astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined = cv2.drawContours(photograph.copy(), outlines, -1, (0, 255, 255), 1)
    name = found.classes[cases.targets[index]]
    tiles = [outlined, _enlarged(cases.baselines[index])]
    captions = [f"{name}, {'masks outlined' if mask.any() else 'no mask'}", "what deletion leaves"]
    for method, one in found.measured.items():
        for map_, said in ((one.maps[index], "trained"), (one.cascade.last[index], "random")):
            tiles.append(_laid_over(photograph, map_))
            captions.append(f"{method}, {said}")
    return tiles, captions


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)


def _laid_over(photograph: np.ndarray, map_: np.ndarray) -> np.ndarray:
    fine = cv2.resize(map_.astype(np.float32), (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
    return lay_over(photograph, fine, color_scale(map_, outliers=True), bool((map_ < 0).any()))


def _add_masks(report: Report, found: Faithfulness) -> None:
    report.section("Does it point at what is there?")
    marked = int(found.cases.masks.any(axis=(1, 2)).sum())
    report.text(f"{marked} of {len(found.cases)} images have masks ({', '.join(found.mask_kinds)}). This is not judged: the "
                "classifier may look elsewhere than a person would, and a map that shows so is right.")  # fmt: skip
    for score in SCORES:
        rows = []
        for name, one in found.measured.items():
            ours, turned, random = one.located(score)
            rows.append(
                {
                    "method": name,
                    "score": str(ours),
                    "over the turned map": str(turned),
                    "over a random network": str(random),
                }
            )
        one = next(iter(found.measured.values())).found
        share = np.nanmean(one.near if score == "pointing" else one.area)
        margin = " with their margin" if score == "pointing" else ""
        report.table(pd.DataFrame(rows), f"{_SCORE_NAMES[score].capitalize()}, 0 to 1, with 95 % intervals over patients. The "
                     f"masks cover {100 * share:.1f} % of the field{margin}.")  # fmt: skip


def _add_method(report: Report, found: Faithfulness) -> None:
    cases = found.cases
    report.section("How it was done")
    report.facts({
        "dataset": found.dataset, "images": len(cases), "patients": len(set(cases.patients)),
        "classes": ", ".join(found.classes[k] for k in np.unique(cases.targets)),
        "not recognised": f"{found.unrecognized} images, left out",
        "deletion leaves": {"blur": "the photograph blurred by a tenth of its width", "mean": "its mean colour"}[found.baseline],
        "random maps": "noise with the map's power spectrum and values",
        "passes": "order better than random (Holm-adjusted p below 0.05), and rank correlation with the maps of the random "
                  f"network below {MOST_ALIKE}, interval and all",
    })  # fmt: skip
