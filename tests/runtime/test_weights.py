from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.weights import WeightFile, load_into, read_weights


def _network(classes: int = 2, width: int = 4) -> nn.Sequential:
    torch.manual_seed(classes)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, classes))


HEAD = ("3",)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_saved_is_loaded(tmp_path, suffix):
    source, file = _network(), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": source.state_dict()}, file)
    else:
        save_file(source.state_dict(), file)
    target = _network(classes=2)
    target[3].weight.data.zero_()
    assert load_into(target, read_weights(file), HEAD) is True
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_a_head_of_another_shape_stays_fresh(tmp_path):
    source, target = _network(classes=5), _network(classes=2)
    before = target[3].weight.clone()
    assert load_into(target, WeightFile(tmp_path / "w", source.state_dict()), HEAD) is False
    assert torch.equal(target[3].weight, before)
    assert torch.equal(target[0].weight, source[0].weight)


def test_a_headless_file_and_missing_counters_are_fine(tmp_path):
    source = {k: v for k, v in _network().state_dict().items() if not k.startswith("3.") and "batches" not in k}
    assert load_into(_network(), WeightFile(tmp_path / "w", source), HEAD) is False


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("0.weight"), "1 tensors missing .first: 0.weight"),
        (lambda t: t.update({"9.weight": torch.zeros(1)}), "1 tensors unknown .first: 9.weight"),
        (lambda t: t.update({"0.weight": torch.zeros(4, 3, 5, 5)}), "1 tensors of another shape .first: 0.weight"),
    ],
)
def test_anything_but_the_head_must_fit(tmp_path, change, told):
    tensors, target = dict(_network().state_dict()), _network()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    change(tensors)
    with pytest.raises(UserError, match=told):
        load_into(target, WeightFile(tmp_path / "w.pth", tensors), HEAD)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


class _Bomb:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_holds_more_than_tensors_is_not_opened(tmp_path, capsys):
    file = tmp_path / "w.pth"
    torch.save({"weight": _Bomb()}, file)
    with pytest.raises(UserError, match="tensors only"):
        read_weights(file)
    file.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(UserError, match="tensors only"):
        read_weights(file)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04\x00" * 50, b"\xff" * 64])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_not_weights(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_weights(tmp_path / name)


def test_missing_files_lists_and_facts_that_are_no_numbers(tmp_path):
    with pytest.raises(UserError, match="no such weights file"):
        read_weights(tmp_path / "w.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="other than named tensors"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(UserError, match="mean='half'"):
        WeightFile(tmp_path / "w", {}, {"mean": "half"}).number("mean")
