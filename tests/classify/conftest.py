"""A tiny dataset with a plain pattern, and a classifier trained on it, shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fundus_synth.classify.train import train
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import write_image

torch.set_num_threads(1)


def _write_toy(path: Path, patients: int = 60, prefix: str = "toy", info: dict | None = None, size: int = 64) -> Path:
    """`patients` with two eyes each, every other one "anemic": a brighter red square on noise."""
    random = np.random.default_rng(0)
    with DatasetWriter(path, {"name": prefix, **(info or {})}) as writer:
        for index in range(2 * patients):
            patient, eye = divmod(index, 2)
            image = random.integers(0, 120, (size, size, 3)).astype(np.uint8)
            if patient % 2:
                image[16:48, 16:48, 0] += 100
            row = {
                "file_name": f"images/{prefix}{index:03}.png",
                "patient_id": f"{prefix}-{patient}",
                "eye": ("left", "right")[eye],
                "label": ("normal", "anemic")[patient % 2],
                "grade": patient % 3,
            }
            writer.add(row, image)
    return path


@pytest.fixture(scope="session")
def write_toy():
    return _write_toy


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory) -> Path:
    return _write_toy(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory, toy_path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "toy-run"
    return train(toy_path, epochs=4, batch_size=16, out=out, device="cpu", quiet=True).path


def _camera_file(path, red: int, size: int = 300):
    """A round field of view on black, reddish, with some texture."""
    frame = np.zeros((size, size + 100, 3), np.uint8)
    cv2.circle(frame, ((size + 100) // 2, size // 2), size // 2 - 10, (red, 70, 40), -1)
    noise = np.random.default_rng(0).integers(0, 12, frame.shape).astype(np.uint8)
    write_image(path, np.where(frame > 0, frame + noise, frame))


@pytest.fixture(scope="session")
def camera_file():
    return _camera_file
