"""Two processes that share a batch, against one that has it to itself."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.processes import own_rows, random_rows
from fundus_synth.synth.train import train
from fundus_synth.synth.training_state import read_training

PROCESS = """
import json, sys
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.synth.train import train
data, out, options = sys.argv[1:]
train(FundusDataset.open(data), "anemic", out=out, **json.loads(options))
"""
OPTIONS = {"model": "light", "size": 16, "batch_size": 8, "steps": 5, "precision": "32", "device": "cpu", "quiet": True,
           "shared_start": "none", "save_every": 5, "measure_every": 5}  # fmt: skip
# A step moves a weight by about the learning rate, 5e-4. Gradients that were not averaged would show in the first one;
# rounding grows too, in a game of kinks: after 25 steps losses differ by some hundredths.
FAR_BELOW_A_STEP = 2e-5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def weights(run):
    return read_training(run)["networks"]


def test_two_processes_take_the_steps_of_one_with_the_double_batch(tiny_dataset, tmp_path):
    train(tiny_dataset, "anemic", out=tmp_path / "one", **OPTIONS)
    port, processes = str(free_port()), []
    for rank in range(2):
        # As torchrun or Slurm would start them.
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0",
                 "LOCAL_RANK": str(rank), "RANK": str(rank), "OMP_NUM_THREADS": "1"}  # fmt: skip
        command = [sys.executable, "-c", PROCESS, str(tiny_dataset.path), str(tmp_path / "two"),
                   json.dumps({**OPTIONS, "devices": 2})]  # fmt: skip
        processes.append(subprocess.Popen(command, env={**os.environ, **place}))
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert alone.keys() == together.keys() and any(name.startswith("discriminator.") for name in alone)
    for name, values in alone.items():
        assert torch.allclose(values.float(), together[name].float(), rtol=0, atol=FAR_BELOW_A_STEP), name
    assert (tmp_path / "two" / "finished.json").exists()


def test_one_process_has_every_row():
    assert own_rows(8) == slice(0, 8)
    torch.manual_seed(0)
    drawn = random_rows(torch.rand, 3, 2)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3, 2))


def test_what_cannot_be_shared_is_refused(tiny_dataset, tmp_path):
    options = {**OPTIONS, "devices": 3}
    with pytest.raises(UserError, match="3 processes cannot share a batch of 8"):
        train(tiny_dataset, "anemic", out=tmp_path / "run", **options)
    with pytest.raises(UserError, match="--out"):
        train(tiny_dataset, "anemic", **{**OPTIONS, "devices": 2})
    assert not (tmp_path / "run").exists()
