from __future__ import annotations

import pytest
import torch

from fundus_synth.runtime.devices import choose_device, choose_precision, multiplies_bf16
from fundus_synth.runtime.errors import UserError

CPU = torch.device("cpu")


def test_precisions():
    assert choose_precision("auto", CPU) == choose_precision("32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16
    assert choose_precision("auto", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize("hardware", [True, False])
def test_bfloat16_on_a_cpu_follows_the_hardware(monkeypatch, hardware):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware, raising=False)
    assert multiplies_bf16(CPU) is hardware


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta:x"])
def test_unusable_devices(name):
    with pytest.raises(UserError, match=f"--device {name}"):
        choose_device(name)


def test_unknown_precision():
    with pytest.raises(UserError, match="--precision 8"):
        choose_precision("8", CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_is_preferred():
    assert choose_device("auto").type == "cuda"
