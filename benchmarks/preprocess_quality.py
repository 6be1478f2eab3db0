"""python benchmarks/preprocess_quality.py [--real ../shared/data] [--eyes 200] [--phantoms 60] [--fit]

How well the quality score ranks. Half of the patients (an even CRC-32 of their id) is for fitting, the other half for the
figures: the area under the curve of gradability by EyeQ's judgements, and of untouched against planted blur, slight blur
(whose scores are not fitted), darkness, haze, overexposure and noise, on eyes that EyeQ calls good and on unselected ones; how
often the reason given is the planted fault; how far the scores of one picture at 224, 512 and full size lie apart; what
thresholds would keep; and the time of a score as a multiple of encoding the same 512 px picture as JPEG. --fit prints new
weights for preprocess/quality.py.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import read_image
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.field_of_view import HOPELESS, find_field_of_view
from fundus_synth.preprocess.quality import SIGNS, VEIL, measure_features, measure_quality
from fundus_synth.preprocess.standardize import standardize

_KINDS = ("blur", "dark", "haze", "overexposed", "noise", "slight blur")
_FITTED = {"blur": 1.0, "dark": 1.0, "haze": 1.0, "overexposed": 1.0, "noise": 0.4, "slight blur": 0.0}
_REASON = {
    "blur": "blurred", "slight blur": "blurred", "dark": "too dark", "haze": "hazy or with little contrast",
    "overexposed": "overexposed", "noise": "noisy",
}  # fmt: skip
_PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".webp"}
_ANSWER = {"good": 1.0, "usable": 0.6, "reject": 0.0}


def planted(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """The picture spoilt in one way; lengths are fractions of its side. What is black outside stays black."""
    values, side = image.astype(np.float32), len(image)
    lit = (image.max(2) > 10)[..., None]
    if kind == "blur":
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.012, 0.03) * side)
    elif kind == "slight blur":
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.005, 0.01) * side)
    elif kind == "dark":
        values = values * rng.uniform(0.08, 0.3) + rng.normal(0, 2.5, image.shape)
    elif kind == "haze":
        share = rng.uniform(0.5, 0.8)
        veil = values[lit[..., 0]].mean() * 1.2 * np.array([1.1, 1.0, 0.9])
        values = values * (1 - share) + share * veil
        values = cv2.GaussianBlur(values, (0, 0), 0.004 * side)
    elif kind == "overexposed":
        values = values * rng.uniform(2.5, 4.0) + 20
    else:
        grid = int(rng.integers(128, 257))
        # The finer the grain, the more of it averages away at the size that is judged.
        grain = rng.normal(0, rng.uniform(20, 45) * grid / 160, (grid, grid, 3)).astype(np.float32)
        values = values + cv2.resize(grain, (side, side), interpolation=cv2.INTER_LINEAR)
    return (values * lit).clip(0, 255).astype(np.uint8)


def fitting_half(patient: str) -> bool:
    return zlib.crc32(patient.encode()) % 2 == 0


def graded_eyes(real: Path) -> list[tuple[str, np.ndarray, str]]:
    """(patient, picture, EyeQ's judgement)."""
    dataset = FundusDataset.open(real / "eyepacs")
    rows = np.flatnonzero(dataset.column("gradability") != "")
    return [(dataset.table["patient_id"][i], dataset.read(i), dataset.table["gradability"][i]) for i in rows]


def untouched_eyes(real: Path, count: int, phantoms: int) -> list[tuple[str, np.ndarray]]:
    """(patient, picture) of ODIR eyes and of simulated ones."""
    dataset = FundusDataset.open(real / "odir")
    rows = np.random.default_rng(0).permutation(len(dataset))[:count]
    eyes = [(dataset.table["patient_id"][i], dataset.read(int(i))) for i in rows]
    for row, image, _ in render_cohort(phantoms // 2, 256, 7, True):
        eyes.append((row["patient_id"], image))
    return eyes


def features(image: np.ndarray) -> list[float]:
    found = measure_features(image)
    return [found[name] for name in SIGNS]


def fit(graded: list, untouched: list) -> None:
    """Logistic regressions on the fitting half; prints MODEL, BIAS, VEIL and VEIL_BIAS."""
    rng = np.random.default_rng(1)
    rows, answers, weights, kinds = [], [], [], []

    def add(image: np.ndarray, answer: float, weight: float, kind: str = "") -> None:
        rows.append(features(image))
        answers.append(answer)
        weights.append(weight)
        kinds.append(kind)

    def add_with_faults(image: np.ndarray, answer: float, weight: float, fault_weight: float) -> None:
        add(image, answer, weight)
        for kind, share in _FITTED.items():
            add(planted(image, kind, rng), 0.0, fault_weight * share, kind)

    for patient, image, judged in graded:
        if fitting_half(patient) and judged == "good":
            add_with_faults(image, 1.0, 2.0, 0.5)
        elif fitting_half(patient):
            add(image, _ANSWER[judged], 2.0)
    for patient, image in untouched:
        if fitting_half(patient):  # unselected eyes count less: some are bad, and nobody judged them
            add_with_faults(image, 1.0, 0.3, 0.3)
    table, answers, weights = np.array(rows), np.array(answers), np.array(weights)
    spread, centre = table[weights > 0].std(0), np.average(table, 0, weights * answers)
    scaled = (table - centre) / spread
    print_model(scaled, answers, weights, centre, spread)
    print_veil(scaled, np.array(kinds))


def print_model(
    scaled: np.ndarray, answers: np.ndarray, weights: np.ndarray, centre: np.ndarray, spread: np.ndarray
) -> None:
    found = logistic(scaled, answers, weights, list(SIGNS.values()))
    print("MODEL: dict[str, tuple[float, float, float]] = {")
    for name, *numbers in zip(SIGNS, centre, spread, found[:-1], strict=True):
        print(f'    "{name}": ({", ".join(f"{n:.4f}" for n in numbers)}),')
    print(f"}}\nBIAS = {found[-1]:.4f}")


def print_veil(scaled: np.ndarray, kinds: np.ndarray) -> None:
    rows, columns = np.isin(kinds, ["blur", "slight blur", "haze"]), [list(SIGNS).index(name) for name in VEIL]
    answers = (kinds[rows] == "haze").astype(float)
    found = logistic(scaled[rows][:, columns], answers, np.ones(len(answers)), [0] * len(columns))
    print(f"VEIL = {dict(zip(VEIL, found[:-1].round(4).tolist(), strict=True))}\nVEIL_BIAS = {found[-1]:.4f}")


def logistic(scaled: np.ndarray, answers: np.ndarray, weights: np.ndarray, signs: list[int]) -> np.ndarray:
    """Weights, and last the constant, of a logistic regression with a ridge; a sign of 1 or -1 binds a weight's."""

    def loss(found: np.ndarray) -> tuple[float, np.ndarray]:
        total = scaled @ found[:-1] + found[-1]
        value = weights @ (np.logaddexp(0, total) - answers * total) + 0.5 * found[:-1] @ found[:-1]
        error = weights * (1 / (1 + np.exp(-total)) - answers)
        return value, np.append(error @ scaled + found[:-1], error.sum())

    bounds = [(0, None) if s > 0 else (None, 0) if s < 0 else (None, None) for s in signs] + [(None, None)]
    return minimize(loss, np.zeros(len(signs) + 1), jac=True, bounds=bounds, method="L-BFGS-B").x


def interval(answers: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> str:
    """The area under the curve with a 95 % bootstrap interval over patients."""
    rng, names = np.random.default_rng(2), np.unique(groups)
    of = {name: np.flatnonzero(groups == name) for name in names}
    drawn = []
    for _ in range(500):
        rows = np.concatenate([of[name] for name in rng.choice(names, len(names))])
        if 0 < answers[rows].sum() < len(rows):
            drawn.append(roc_auc_score(answers[rows], scores[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{roc_auc_score(answers, scores):.3f} ({low:.3f} .. {high:.3f}), n {len(answers)}"


def print_gradability(graded: list) -> None:
    held = [(patient, judged, measure_quality(image).score) for patient, image, judged in graded
            if not fitting_half(patient)]  # fmt: skip
    patients, judged, scores = (np.array(column) for column in zip(*held, strict=True))
    print("EyeQ, held-out patients: AUC (95 % interval)")
    print("  gradable (good, usable) against reject:", interval(judged != "reject", scores, patients))
    print("  good against usable and reject:        ", interval(judged == "good", scores, patients))
    print("  mean score:", {k: round(float(scores[judged == k].mean()), 2) for k in _ANSWER})


def print_thresholds(graded: list, untouched: list) -> None:
    """What a least score keeps: all judged eyes, and unselected ODIR eyes."""
    judged = np.array([name for _, _, name in graded])
    scores = np.array([measure_quality(image).score for _, image, _ in graded])
    others = np.array([measure_quality(image).score for name, image in untouched if name.startswith("odir")])
    print("least score: share kept of good, usable, reject, and of unselected ODIR eyes")
    at = float(np.quantile(scores[judged != "reject"], 0.05))
    for least in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, at):
        kept = " ".join(f"{(scores[judged == name] >= least).mean():.3f}" for name in _ANSWER)
        print(f"  {least:.3f}: {kept} {(others >= least).mean():.3f}")
    print("  (the last keeps 95 % of good and usable)")


def print_planted(title: str, untouched: list) -> None:
    rng = np.random.default_rng(3)
    held = [item for item in untouched if not fitting_half(item[0])]
    patients = np.array([patient for patient, _ in held])
    clean = np.array([measure_quality(image).score for _, image in held])
    print(
        f"planted on {title}, held-out patients: AUC of untouched against spoilt (95 % interval); pairs in order; reasons"
    )
    for kind in _KINDS:
        found = [measure_quality(planted(image, kind, rng)) for _, image in held]
        spoilt = np.array([f.score for f in found])
        answers = np.repeat([True, False], len(held))
        area = interval(answers, np.concatenate([clean, spoilt]), np.tile(patients, 2))
        reasons = Counter(f.reason for f in found if f.reason)
        right = reasons[_REASON[kind]]
        others = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common() if reason != _REASON[kind])
        print(
            f"  {kind:12s} {area}; {(clean > spoilt).mean():.3f}; reason right {right} of {sum(reasons.values())}"
            f" below 0.5{' (' + others + ')' if others else ''}"
        )


def print_sizes(real: Path, least: int) -> None:
    """Of camera files with a field of at least `least` pixels, so that every size is made of more pixels than it has."""
    folders = ["camera_frames", "diaretdb1/images", "drive/images", "retina_dataset/cataract", "retina_dataset/glaucoma",
               "odir_as_downloaded/preprocessed_images"]  # fmt: skip
    files = [p for name in folders for p in sorted((real / name).glob("*")) if p.suffix in _PICTURES]
    apart = []
    for path in files:
        image = read_image(path)
        fov = find_field_of_view(image)
        if fov.confidence < HOPELESS or 2 * fov.radius < least:
            continue
        made = [standardize(image, size, "none", fov) for size in (224, 512, round(2 * fov.radius))]
        scores = [measure_quality(m.image, m.mask).score for m in made]
        apart.append(max(scores) - min(scores))
    print(f"sizes 224, 512, full, {len(apart)} pictures with at least {least} px across the field: largest difference "
          f"{max(apart):.3f}, 95th percentile {np.percentile(apart, 95):.3f}")  # fmt: skip


def print_time(image: np.ndarray) -> None:
    """In turns, and after a decoding, as in a run; the lower quartile, for others may use the processor."""
    cv2.setNumThreads(1)
    image = cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC)
    encoding, scoring = [], []
    for _ in range(100):
        start = time.thread_time()
        _, content = cv2.imencode(".jpg", image)
        encoding.append(time.thread_time() - start)
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
        start = time.thread_time()
        measure_quality(decoded)
        scoring.append(time.thread_time() - start)
    took, floor = np.percentile(scoring, 25), np.percentile(encoding, 25)
    print(f"score / encode as JPEG, 512 px, one thread: {took / floor:.2f} ({1000 * took:.1f} ms of processor time)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--eyes", type=int, default=200)
    parser.add_argument("--phantoms", type=int, default=60)
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    graded = graded_eyes(options.real)
    untouched = untouched_eyes(options.real, options.eyes, options.phantoms)
    if options.fit:
        fit(graded, untouched)
        return
    print_gradability(graded)
    print_thresholds(graded, untouched)
    print_planted("eyes that EyeQ calls good", [(p, image) for p, image, judged in graded if judged == "good"])
    print_planted("unselected ODIR eyes", [item for item in untouched if item[0].startswith("odir")])
    print_planted("simulated eyes", [item for item in untouched if not item[0].startswith("odir")])
    print_sizes(options.real, 500)
    print_time(graded[0][1])


if __name__ == "__main__":
    main()
