"""A tiny dataset of random pictures, and one short run on it."""

from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.synth.train import train


@pytest.fixture(scope="session")
def tiny_options() -> dict:
    """Options of `train` that make a step take milliseconds."""
    return {
        "model": "dcgan",
        "shared_start": "none",
        "size": 16,
        "batch_size": 4,
        "device": "cpu",
        "precision": "32",
        "quiet": True,
    }


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> FundusDataset:
    """14 anemic images of 7 patients, the last two of them in the test split, and 3 normal images; 20 px, random."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("datasets") / "tiny"
    with DatasetWriter(path, {"name": "tiny set", "licence": "CC0-1.0"}) as writer:
        for index in range(17):
            row = {
                "file_name": f"images/{index}.png", "patient_id": f"tiny-{index // 2}",
                "label": "anemic" if index < 14 else "normal", "split": "test" if 10 <= index < 14 else "train",
            }  # fmt: skip
            writer.add(row, random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    return FundusDataset.open(path)


@pytest.fixture(scope="session")
def tiny_run(tiny_dataset, tiny_options, tmp_path_factory):
    """Six steps on `tiny_dataset`, never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(tiny_dataset, "anemic", steps=6, save_every=2, out=out, **tiny_options)
