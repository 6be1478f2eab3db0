"""python benchmarks/phantom_sheet.py [docs/phantoms.jpg] [--diseases]

A contact sheet of phantoms: normal eyes, anaemic eyes by falling haemoglobin, and the grades of diabetic retinopathy;
with --diseases the other diseases instead, a row each by rising severity, `other` by its kinds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from fundus_synth.data.image_file import write_image
from fundus_synth.data.phantom.anatomy import Eye, sample_eye
from fundus_synth.data.phantom.camera import Camera
from fundus_synth.data.phantom.camera_models import sample_camera
from fundus_synth.data.phantom.diseases import DISEASES, afflicted
from fundus_synth.data.phantom.render import render

CELL, BAND, COLUMNS = 256, 22, 6


def _eyes() -> list[tuple[str, Eye, Camera]]:
    """Caption, eye and camera of each cell, row by row."""
    rng = np.random.default_rng(2)

    def drawn(**given) -> tuple[Eye, Camera]:
        return sample_eye(rng, age_years=rng.uniform(25, 75), **given), sample_camera(rng).in_standard_frame()

    cells = [("normal", *drawn(hemoglobin=rng.uniform(13.2, 16))) for _ in range(COLUMNS)]
    eye, camera = drawn(label="anemic")
    camera = replace(camera, flare=0.0, rim=0.0)
    cells += [("same eye", replace(eye, hemoglobin=hb), camera) for hb in (15, 13, 11, 9, 7, 5)]
    cells += [("anemic", *drawn(label="anemic", hemoglobin=hb)) for hb in (11.5, 10.5, 9.5, 8.5, 7.5, 6.5)]
    grades = (1, 2, 2, 3, 3, 4)
    cells += [("diabetes", *drawn(label="diabetes", grade=g, hemoglobin=rng.uniform(13.2, 15))) for g in grades]
    return cells


def _diseased() -> list[tuple[str, Eye, Camera]]:
    """Caption, eye and camera of each cell: a disease a row."""
    rng = np.random.default_rng(4)
    cells = []
    for disease in DISEASES:
        for step in range(COLUMNS):
            severity = (step + 0.5) / COLUMNS
            variant = (0.1, 0.4, 0.75, 0.86, 0.92, 0.98)[step] if disease == "other" else 0.3 * step % 1
            eye = afflicted(sample_eye(rng, age_years=rng.uniform(50, 75)), disease, severity, variant)
            camera = replace(sample_camera(rng).in_standard_frame(), flare=0.0)
            cells.append((eye.findings[0] if disease == "other" else f"{disease} {severity:.2f}", eye, camera))
    return cells


def _cell(name: str, eye: Eye, camera: Camera) -> np.ndarray:
    ill = eye.findings or eye.cataract or eye.hypertension
    text = name if ill else f"{name}, grade {eye.grade}" if eye.grade else f"{name}, Hb {eye.hemoglobin:.1f}"
    band = np.full((BAND, CELL, 3), 24, np.uint8)
    cv2.putText(band, text, (8, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
    return np.vstack([render(eye, camera, CELL).image, band])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, nargs="?", default=Path("docs/phantoms.jpg"))
    parser.add_argument("--diseases", action="store_true")
    arguments = parser.parse_args()
    cells = [_cell(*cell) for cell in (_diseased() if arguments.diseases else _eyes())]
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    write_image(arguments.target, np.vstack(rows))


if __name__ == "__main__":
    main()
