"""Model files of the toy classifier, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_exported(tmp_path_factory, toy_run):
    """What `export` says of the toy classifier's model file."""
    pytest.importorskip("onnxscript")
    from fundus_synth.classify.deploy.export import export

    return export(toy_run, tmp_path_factory.mktemp("models") / "toy.onnx", device="cpu", quiet=True)


@pytest.fixture(scope="session")
def toy_model(toy_exported) -> Path:
    return toy_exported.path
