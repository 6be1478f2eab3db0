"""Shared fixtures: the real photographs where they are, a private cache, one thread a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two test processes on two cores: more threads each would only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory):
    os.environ["FUNDUS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FUNDUS_REAL_DATA", beside))
    if not (folder / "odir" / "metadata.csv").is_file():
        pytest.skip("no real photographs here: set FUNDUS_REAL_DATA to their folder")
    return folder
