"""Stand-ins for simulated eyes, so that a fake collection takes no time where its pictures do not matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fundus_synth.data.fake import FakeEyes


class PlainEyes(FakeEyes):
    """The rows of simulated patients with a bright circle on black for every eye."""

    def photographs(self, classes=("normal", "diabetes"), label="") -> Iterator[tuple[dict, np.ndarray, dict]]:
        """As `FakeEyes.photographs`, with the same share of every class."""
        patients = max(1, self.count // (2 * len(classes)))
        for i in range(patients * len(classes)):
            name = classes[i // patients]
            person = {
                "patient_id": f"p{i}", "label": name, "sex": ("female", "male")[i % 2], "age_years": 40 + i,
                "systolic_mmhg": 120 + i, "diastolic_mmhg": 70 + i,
                "hemoglobin_g_dl": round(9 + i / 10 if name == "anemic" else 14 + i / 10, 1),
            }  # fmt: skip
            for eye in ("right", "left"):
                grade = (2 * i + (eye == "left")) % 4 + 1 if name == "diabetes" else 0
                yield {**person, "eye": eye, "grade": grade}, _circle(self.size, 7 * i + (eye == "left")), {}


def _circle(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, : 4 * size // 3]
    inside = np.hypot(x - 2 * size / 3, y - size / 2) < 0.45 * size
    texture = rng.uniform(0.8, 1.2, (size, 4 * size // 3, 1))
    return (inside[..., None] * texture * np.array([160, 80, 40]) + 2).astype(np.uint8)


@pytest.fixture(scope="session")
def plain_eyes() -> PlainEyes:
    """Sixteen of them, 96 pixels high."""
    return PlainEyes(16, 96)
