"""A tiny dataset of random pictures, and one short run on it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.synth.generate import generate
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


@pytest.fixture(scope="session")
def write_audit():
    """Writes audit.json and evaluation.json as `fundus-synth audit` and `evaluate` do: (dataset, copies, changes)."""

    def write(dataset: FundusDataset, copies: tuple[str, ...] = (), **changes: object) -> FundusDataset:
        seen = dataset.info.get("trained_on_images") or [""]
        common = {"fingerprint": dataset.fingerprint, "toolkit": "fundus-synth", "command": ["fundus-synth", "judge"],
                  "against": {"name": "tiny set", "fingerprint": "f" * 64, "images": 10, "patients": 5}}  # fmt: skip
        images = {
            name: {"copy": name in copies, "nearest": seen[0], "distance": 0.25, "why": f"nearest {seen[0]}"}
            for name in dataset.table["file_name"]
        }
        figures = {"share_of_copies": {"value": 0.1, "low": 0.0, "high": 0.3}, "nearest": [seen[0], "images/1.png"]}
        audit = {"format": "fundus-synth audit 1", **common, "verdict": "pass", "reason": "few copies",
                 "figures": figures, "images": images}  # fmt: skip
        (dataset.path / "audit.json").write_text(json.dumps({**audit, **changes}))
        kid = {"value": 0.2, "low": 0.1, "high": 0.3, "floor": {"value": 0.01, "low": 0.0, "high": 0.02},
               "ratio": float("nan"), "verdict": "worse than real eyes"}  # fmt: skip
        distances = {"retina": {"together": {"images": 12, "measures": {"kid": kid}}}}
        evaluation = {
            "format": "fundus-synth evaluation 1",
            **common,
            "figures": {"real_images": 7, "distances": distances},
        }
        (dataset.path / "evaluation.json").write_text(json.dumps(evaluation))
        return dataset

    return write


@pytest.fixture(scope="session")
def generated_set(tiny_run, tmp_path_factory) -> FundusDataset:
    """12 images of `tiny_run`, drawn with truncation 0.8; copy it before changing anything."""
    return generate(tiny_run.path, 12, tmp_path_factory.mktemp("generated") / "set", truncation=0.8, quiet=True)


@pytest.fixture
def audited_set(generated_set, write_audit, tmp_path) -> FundusDataset:
    """A copy of `generated_set` that was audited; image 3 is a copy."""
    shutil.copytree(generated_set.path, tmp_path / "audited")
    return write_audit(FundusDataset.open(tmp_path / "audited"), copies=("images/anemic_000003.png",))
