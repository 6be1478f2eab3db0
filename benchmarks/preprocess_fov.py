"""python benchmarks/preprocess_fov.py [--count 320] [--seed 100] [--real FOLDER]

The field of view of hard phantoms, torture by torture: how many circles are right (centre and radius within 1 % of the
frame's width), how many failures are flagged (confidence below 0.7) and how many are not, and how many right circles are
flagged in vain, with 95 % intervals of Wilson. Two baselines see the same pictures: "hough" finds the field as Fu et al.
(2019, MICCAI, EyeQ) describe it, by the circular Hough transform (the paper gives no parameters: edges at 30 grey levels,
radii from 15 to 95 % of the longer side, on a copy of 512 pixels); "box" is the plain crop, pixels brighter than a tenth
of the brightest, the largest region, the circle of its bounding box.
With --real, DRIVE's masks: intersection over union. Last, the finder's CPU time over decoding the same eye at 1/4.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.stats import binomtest

from fundus_synth.data.image_file import read_image
from fundus_synth.data.phantom.anatomy import sample_eye
from fundus_synth.data.phantom.camera_models import sample_camera
from fundus_synth.data.phantom.render import render
from fundus_synth.data.phantom.torture import TorturePicture, torture_set
from fundus_synth.preprocess.field_of_view import FieldOfView, find_field_of_view
from fundus_synth.runtime.progress import Progress

UNSURE, RIGHT = 0.7, 0.01
SHARE_OF_BRIGHTEST, LONGEST = 0.1, 512
HARDER = {"dark_rim", "glow", "white_border", "soft_rim", "lid_shadow", "clutter"}


class Finding(NamedTuple):
    """One picture's result; errors are the largest of x, y and radius in shares of the frame's width, NaN without a rim.

    `name` lists its tortures with "+" between them; the errors of the baselines go by their names.
    """

    name: str
    error: float
    baseline_errors: dict[str, float]
    flagged: bool

    @property
    def right(self) -> bool:
        """Without a rim there is no circle to find; to say so is right."""
        return self.flagged if np.isnan(self.error) else self.error <= RIGHT

    @property
    def flagged_in_vain(self) -> bool:
        return bool(self.flagged and self.error <= RIGHT)

    def baseline_right(self, baseline: str) -> bool:
        return bool(self.baseline_errors[baseline] <= RIGHT)


def box_crop(image: np.ndarray) -> FieldOfView:
    """The circle of the bounding box of what is lit; without a confidence of its own."""
    height, width = image.shape[:2]
    gray = image.mean(axis=2)
    lit = (gray > SHARE_OF_BRIGHTEST * gray.max()).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(lit)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if count > 1 else 0
    left, top, wide, high = (int(value) for value in stats[largest, :4])
    box = (0.0, 0.0, float(width), float(height))
    return FieldOfView(left + wide / 2, top + high / 2, max(wide, high) / 2, 1.0, "", box)


def hough_circle(image: np.ndarray) -> FieldOfView:
    """The circle with most votes of the Hough transform; the frame's inscribed one where there is none."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smallest, largest = (round(share * max(gray.shape)) for share in (0.15, 0.95))
    found = cv2.HoughCircles(
        cv2.medianBlur(gray, 5), cv2.HOUGH_GRADIENT, 1, max(gray.shape), param1=30, param2=30, minRadius=smallest,
        maxRadius=largest,
    )  # fmt: skip
    circle = (width / 2, height / 2, min(width, height) / 2) if found is None else (found[0, 0] + [0.5, 0.5, 0]) / scale
    return FieldOfView(*(float(value) for value in circle), 1.0, "", (0.0, 0.0, float(width), float(height)))


BASELINES = {"hough": hough_circle, "box": box_crop}


def compare(picture: TorturePicture) -> Finding:
    found = find_field_of_view(picture.image)
    baselines = {name: _error(find(picture.image), picture) for name, find in BASELINES.items()}
    return Finding(picture.name, _error(found, picture), baselines, found.confidence < UNSURE)


def _error(fov: FieldOfView, picture: TorturePicture) -> float:
    if picture.circle is None:
        return float("nan")
    differences = np.subtract((fov.x, fov.y, fov.radius), picture.circle)
    return float(np.abs(differences).max() / picture.image.shape[1])


def print_table(findings: dict[str, list[Finding]]) -> None:
    print(
        f"{'torture':16}{'n':>5}{'right':>7}{'median %':>10}{'95th %':>9}{'flagged':>9}{'unflagged':>11}{'in vain':>9}"
        + "".join(f"{name:>8}" for name in BASELINES)
    )
    for name, group in findings.items():
        errors = [100 * found.error for found in group if not np.isnan(found.error)] or [float("nan")]
        wrong = [found for found in group if not found.right]
        flagged = sum(found.flagged for found in wrong)
        baselines = "".join(f"{sum(f.baseline_right(baseline) for f in group):8}" for baseline in BASELINES)
        print(f"{name:16}{len(group):5}{len(group) - len(wrong):7}{np.median(errors):10.3f}{np.percentile(errors, 95):9.3f}"
              f"{flagged:9}{len(wrong) - flagged:11}{sum(f.flagged_in_vain for f in group):9}{baselines}")  # fmt: skip


def print_totals(findings: list[Finding]) -> None:
    """The usual tortures, alone and together, and apart from them every picture with one of `HARDER`."""
    harder = [found for found in findings if HARDER & set(found.name.split("+"))]
    usual = [found for found in findings if not HARDER & set(found.name.split("+"))]
    for title, group in (("usual tortures", usual), (f"with {', '.join(sorted(HARDER))}", harder), ("all", findings)):
        if group:
            print(title)
            print_summary(group)


def print_summary(findings: list[Finding]) -> None:
    """Shares over a group; each baseline is compared on those that have a rim (exact test of McNemar)."""
    silent = sum(not found.right and not found.flagged for found in findings)
    print(f"right: {share(sum(found.right for found in findings), len(findings))}")
    print(f"wrong without a flag: {share(silent, len(findings))}")
    rimmed = [found for found in findings if not np.isnan(found.error)]
    print(f"right, but flagged, of those with a rim: {share(sum(f.flagged_in_vain for f in rimmed), len(rimmed))}")
    ours = sum(found.right for found in rimmed)
    for name in BASELINES:
        theirs = sum(found.baseline_right(name) for found in rimmed)
        gained = sum(found.right and not found.baseline_right(name) for found in rimmed)
        lost = sum(found.baseline_right(name) and not found.right for found in rimmed)
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        print(f"with a rim: ours {share(ours, len(rimmed))}, {name} {share(theirs, len(rimmed))}; "
              f"only ours right {gained}, only {name} {lost}, p = {p:.2g}")  # fmt: skip


def share(hits: int, count: int) -> str:
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits}/{count} = {100 * hits / count:.1f} % ({100 * interval.low:.1f} .. {100 * interval.high:.1f})"


def print_overlap(folder: Path) -> None:
    """Intersection over union with the published masks, ours and the baselines'."""
    finders, shares = {"ours": find_field_of_view, **BASELINES}, []
    for path in sorted((folder / "images").glob("*.png")):
        image, published = read_image(path), read_image(folder / "masks/fov" / path.name)[..., 0] > 127
        masks = [find(image).mask(*published.shape) > 0 for find in finders.values()]
        shares.append([(mask & published).sum() / (mask | published).sum() for mask in masks])
    figures = zip(finders, np.median(shares, 0), np.min(shares, 0), strict=True)
    print(
        f"DRIVE, n = {len(shares)}, IoU: " + "; ".join(f"{n} median {m:.4f}, least {low:.4f}" for n, m, low in figures)
    )


def time_ratio(seed: int, repeats: int = 15) -> float:
    """CPU time to find the circle in an eye of 2848 rows decoded at 1/4, over that of decoding it so."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    image = render(sample_eye(rng), sample_camera(rng), 712).image
    image = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    decoding, finding = [], []
    for _ in range(repeats):
        start = time.process_time()
        small = cv2.imdecode(content, cv2.IMREAD_REDUCED_COLOR_4)
        middle = time.process_time()
        find_field_of_view(small)
        decoding.append(middle - start)
        finding.append(time.process_time() - middle)
    return float(np.median(finding) / np.median(decoding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--real", type=Path, help="folder with drive/images and drive/masks/fov")
    arguments = parser.parse_args()
    findings = defaultdict(list)
    with Progress(arguments.count, "finding") as progress:
        for picture in torture_set(arguments.count, arguments.seed):
            findings["several" if "+" in picture.name else picture.name].append(compare(picture))
            progress.advance(1)
    print_table(findings)
    print_totals([found for group in findings.values() for found in group])
    if arguments.real:
        print_overlap(arguments.real / "drive")
    print(f"finder / decode at 1/4: {time_ratio(arguments.seed):.2f}")


if __name__ == "__main__":
    main()
