"""A small dataset folder of random pictures, for tests that change or break it."""

from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter


@pytest.fixture
def small_dataset(tmp_path) -> FundusDataset:
    """Twelve 16 px images of six patients (two eyes each): 8 normal, 4 anemic."""
    rng = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "small", {"name": "small", "licence": "Apache-2.0", "source": "random"}) as writer:
        for i in range(12):
            row = {
                "file_name": f"images/{i:02d}.png", "patient_id": f"p{i // 2}", "eye": ("left", "right")[i % 2],
                "label": "anemic" if i < 4 else "normal", "sex": "female", "hemoglobin_g_dl": 10.5 if i < 4 else 13.5,
                "age_years": 40 + i, "note": "kept, as it is",
            }  # fmt: skip
            writer.add(
                row, rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), {"fov": np.full((16, 16), 255, np.uint8)}
            )
    return FundusDataset.open(tmp_path / "small")
