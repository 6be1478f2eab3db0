"""Datasets at URLs and made by a Ray cluster are the same bytes as those made here."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.preprocess import pipeline
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.ray_pool import map_on_ray
from fundus_synth.runtime.workers import Limits

# The frames here are plain discs, which are rightly taken for no retina.
run = partial(pipeline.run, all_kinds=True)


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _draw(folder: Path, frame, number: int) -> Path:
    for label in ("normal", "cataract"):
        (folder / label).mkdir(parents=True)
        for i in range(number):
            eye = frame(200, 260, 130 + i, 100 - i, 85 + 4 * i, seed=i)
            Image.fromarray(eye).save(folder / label / f"{label}_{i}.jpg", quality=95)
    (folder / "normal" / "broken.jpg").write_text("text")
    return folder


@pytest.fixture
def eyes(tmp_path, frame):
    return _draw(tmp_path / "eyes", frame, 5)


def test_from_a_url_to_a_url(eyes, tmp_path):
    run(eyes, tmp_path / "here", size=48, workers=0, quiet=True)
    result = run(f"file://{eyes}", f"file://{tmp_path}/there", size=48, workers=2, quiet=True)
    assert _tree(tmp_path / "there") == _tree(tmp_path / "here")
    assert "masks/fov/normal_4.png" in _tree(tmp_path / "there")
    assert len(result.dataset) == 10 and [name for name, _ in result.rejected] == ["normal/broken.jpg"]
    assert result.lines()[0].startswith(f"file://{tmp_path}/there: 10 images")
    assert result.summary()["dataset"] == f"file://{tmp_path}/there"
    with pytest.raises(UserError, match="there.*already exists"):
        run(eyes, f"file://{tmp_path}/there", size=48, workers=0, quiet=True)


def test_a_dataset_at_a_url_is_continued(eyes, tmp_path, monkeypatch):
    from fundus_synth.data.dataset_writer import DatasetWriter

    url, add = f"file://{tmp_path}/there", DatasetWriter.add

    def full(self, row, *rest):
        if len(self.done) == 4:
            raise JobError("the network is down")
        add(self, row, *rest)

    with monkeypatch.context() as patch, pytest.raises(JobError):
        patch.setattr(DatasetWriter, "add", full)
        run(eyes, url, size=48, workers=0, quiet=True)
    assert not (tmp_path / "there" / "metadata.csv").exists()
    kept = tmp_path / "there" / "images" / "cataract_0.png"
    before = kept.stat().st_mtime_ns
    run(eyes, url, size=48, workers=0, quiet=True)
    assert kept.stat().st_mtime_ns == before
    run(eyes, tmp_path / "here", size=48, workers=0, quiet=True)
    assert _tree(tmp_path / "there") == _tree(tmp_path / "here")


def test_urls_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run(f"file://{tmp_path}/nowhere", tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="archive"):
        run("s3://bucket/eyes.zip", tmp_path / "out", quiet=True)


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"fundus-synth\[ray\]"):
        list(map_on_ray(abs, [1], "auto", lost=lambda item, reason: item))


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_machine_makes_the_same_bytes(tmp_path, frame):
    """Two nodes; the one that is not ours is killed while it works."""
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    eyes = _draw(tmp_path / "eyes", frame, 60)
    run(eyes, tmp_path / "here", size=48, workers=2, quiet=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        journal, killed = tmp_path / "there.partial" / "rows.jsonl", []

        def kill() -> None:
            while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 10):
                time.sleep(0.02)
            cluster.remove_node(second, allow_graceful=False)
            killed.append(journal.is_file())

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        run(eyes, tmp_path / "there", size=48, ray=cluster.address, quiet=True)
        thread.join()
        assert killed == [True], "the machine must die while there is work left"
    finally:
        cluster.shutdown()
    assert _tree(tmp_path / "there") == _tree(tmp_path / "here")
    assert len(FundusDataset.open(tmp_path / "there")) > 100


@pytest.mark.slow
def test_on_ray_what_kills_its_worker_is_lost_and_errors_come_through():
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        results = map_on_ray(
            lambda item: os._exit(1) if item == 3 else item,
            list(range(6)),
            "auto",
            lost=lambda item, reason: reason,
            limits=Limits(seconds=2, memory=1 << 30),
        )
        *first, third, fourth, fifth = results
        assert (first, fourth, fifth) == ([0, 1, 2], 4, 5) and third.startswith("crashed or took longer than 2 s")
        with pytest.raises(ZeroDivisionError):
            list(map_on_ray(lambda item: item / 0, [1], "auto", lost=lambda item, reason: reason))
        with pytest.raises(MemoryError):
            list(map_on_ray(bytes, [2 << 30], "auto", lost=lambda item, reason: reason, limits=Limits(memory=1 << 30)))
        assert ray.is_initialized()
    finally:
        ray.shutdown()
