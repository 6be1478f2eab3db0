"""`fundus-classify export`: a run -> one ONNX file that answers without torch.

Both the file and PyTorch look at every validation image. In single precision no probability may differ by more than `TOLERANCE`,
else nothing is written. Half precision and 8 bits change probabilities by more than that; they are kept only if they cost less than
`WORST_LOSS` of kappa and of macro AUC on these images. What the answers follow from, the conformal sets and the limit of what is
familiar, is fitted to what the chosen file says.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...data.dataset import FundusDataset
from ...preprocess.standardize import STANDARD_SIZE
from ...runtime.errors import UserError
from ...runtime.files import make_folder, refuse_existing, without_nan, write_bytes
from ...version import __version__
from ..backbones import Classifier
from ..checkpoint import About, load_classifier
from ..decision import Decision, load_decision
from ..trained_on import named_dataset
from .answer import Rules
from .card_facts import ended_metrics
from .fit_rules import fit_rules, refitted
from .model_card import write_model_card
from .model_file import FORMAT, KEY, KIND, ModelFile, open_model
from .network_graph import DeployedNetwork
from .parity import Parity, Told, ValidationImages, measure_parity, training_images
from .quantise import to_half, to_int8, to_int8_weights

if TYPE_CHECKING:
    from onnx import ModelProto

FP32, FP16, INT8 = PRECISIONS = ("fp32", "fp16", "int8")
_INT8_WEIGHTS = "int8-weights"
_TRIED = {FP32: (), FP16: (FP16,), INT8: (INT8, _INT8_WEIGHTS, FP16)}
TOLERANCE = 1e-3
WORST_LOSS = 0.01
_OPSET = 18
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_SIDE = 4096
_CALIBRATION_IMAGES = 128


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        path: the model file.
        precision: fp32, fp16, int8, or int8-weights.
        size: of the file, bytes.
        parity: of this file against PyTorch.
        float_parity: of the same graph in single precision.
        note: why it is not of the precision that was asked for; else "".
    """

    path: Path
    precision: str
    size: int
    parity: Parity
    float_parity: Parity
    note: str

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {
            "model": str(self.path), "precision": self.precision, "bytes": self.size, "note": self.note,
            "parity": self.parity.summary(), "fp32_parity": self.float_parity.summary(),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people."""
        lines = [f"{self.path}: {self.precision}, {self.size / 1e6:.2f} MB", self.parity.line()]
        if self.precision != FP32:
            lines.append(f"in single precision: {self.float_parity.line()}")
        return [*lines, *([self.note] if self.note else []), f"card: {_card(self.path)}.html"]


def export(
    run: Path | str, out: Path | str, *, precision: str = FP32, data: FundusDataset | Path | str | None = None,
    device: str = "auto", quiet: bool = False,
) -> Exported:  # fmt: skip
    """Write a model file, and its model card beside it (OUT.card.md and OUT.card.html).

    Args:
        run: a run folder of `train`.
        out: the file, *.onnx.
        precision: fp32, fp16 (see `quantise.to_half`) or int8 (see `quantise.to_int8`). Where int8 costs too much, 8 bits for
            the weights alone are tried (`quantise.to_int8_weights`), then fp16, and where that does, fp32 is kept.
        data: what the run was trained on, for calibration, rules and the comparison with PyTorch; by default what its
            config.yaml names.
        device: for the passes of PyTorch over the dataset.

    Raises:
        UserError: no classifier, or one whose training has not ended; a network that does not end in one linear layer, or that
            is larger than `STANDARD_SIZE`; a dataset without the run's training and validation patients, or, for a number,
            with too few of them; a file that exists; or a graph that says something else than PyTorch.
    """
    out = Path(out)
    _check_request(out, precision)
    reference, about = load_classifier(run)
    if reference.size > STANDARD_SIZE:
        raise UserError(f"looks at {reference.size} pixels; a model file can at most at {STANDARD_SIZE}", path=run)
    ended_metrics(run)  # before the long work
    dataset = _dataset(run, data)
    decision = load_decision(run, about)
    validation = ValidationImages.of(dataset, about, reference.size)
    rules = fit_rules(run, dataset, device=device, quiet=quiet)
    if rules.half_width is not None and not math.isfinite(rules.half_width):
        raise UserError("has too few validation patients to tell how far off its number can be", path=run)
    facts = _facts(run, reference, about, decision, rules, dataset)
    make_folder(out.parent)
    graph = trace(load_classifier(run)[0], about, decision)
    truth = validation.told_by_torch(reference, decision, quiet)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial-") as name:
        folder = Path(name)

        def measured(model: ModelProto, precision: str) -> _Candidate:
            told = validation.told_by_file(_written(model, facts, precision, folder), quiet)
            return _Candidate(model, precision, told, measure_parity(told, truth, validation))

        makers = {
            INT8: lambda: to_int8(graph, training_images(dataset, about, reference.size, _CALIBRATION_IMAGES), folder),
            _INT8_WEIGHTS: lambda: to_int8_weights(graph),
            FP16: lambda: to_half(graph),
        }
        plain = measured(graph, FP32)
        _refuse_difference(plain.parity, out)
        chosen, note = _smallest(plain, (measured(makers[name](), name) for name in _TRIED[precision]))
    people = np.asarray(validation.dataset.patient_keys, dtype=str)
    rules = refitted(rules, about, decision, validation.truth, chosen.told.values, chosen.told.features, people)
    facts |= {"precision": chosen.precision, "parity": chosen.parity.summary(), "rules": rules.to_dict()}
    content = _with_facts(chosen.model, facts)
    write_model_card(run, _card(out), model_facts=facts, dataset=dataset)
    write_bytes(out, content)
    return Exported(out, chosen.precision, len(content), chosen.parity, plain.parity, note)


def trace(model: Classifier, about: About, decision: Decision) -> ModelProto:
    """The graph of a classifier, see `network_graph`, without facts; the model is of no further use.

    Raises:
        UserError: the network does not end in one linear layer, or uses operators that ONNX has not.
    """
    network = DeployedNetwork(model.to("cpu").eval(), about.target, decision.temperature)
    images = torch.zeros(2, max(64, model.size), max(64, model.size), 3, dtype=torch.uint8)
    count, side = torch.export.Dim("n", min=1), torch.export.Dim("s", min=model.size, max=_LARGEST_SIDE)
    with torch.no_grad(), _silence():
        try:
            program = torch.onnx.export(
                network, (images,), dynamo=True, input_names=["image"], output_names=list(network.outputs), verbose=False,
                dynamic_shapes={"image": {0: count, 1: side, 2: side}}, opset_version=_OPSET, external_data=False,
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise UserError(
                f"backbone {model.name} cannot be written as ONNX ({str(error).splitlines()[0][:160]})"
            ) from error
    return _bare(program.model_proto)


def _check_request(out: Path, precision: str) -> None:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UserError(f"export needs {', '.join(missing)}", hint="pip install 'fundus-synth[onnx]'")
    if precision not in PRECISIONS:
        raise UserError(f"no precision is called {precision!r}", hint=f"Use {', '.join(PRECISIONS)}.")
    if out.suffix.lower() != ".onnx":
        raise UserError("a model file is called *.onnx", path=out)
    for path in (out, *(_card(out).with_suffix(suffix) for suffix in (".card.md", ".card.html"))):
        refuse_existing(path)


def _card(out: Path) -> Path:
    """Where the model card lies, without a suffix."""
    return out.with_suffix(".card")


def _dataset(run: Path | str, data: FundusDataset | Path | str | None) -> FundusDataset:
    if data is not None:
        return data if isinstance(data, FundusDataset) else FundusDataset.open(data)
    dataset = named_dataset(run)
    if dataset is None:
        raise UserError(
            "does not name what it was trained on, or that is no longer there",
            path=run,
            hint="Say where it is: --data.",
        )
    return dataset


def _facts(
    run: Path | str, model: Classifier, about: About, decision: Decision, rules: Rules, dataset: FundusDataset
) -> dict:  # fmt: skip
    """What the file says of itself, but for precision and parity."""
    chosen = {name: getattr(decision, name) for name in ("multipliers", "cuts", "thresholds")}
    return {
        "kind": KIND,
        "format": FORMAT,
        "version": __version__,
        "classes": list(about.classes),
        "target": about.target,
        "head": model.head,
        "backbone": model.name,
        "size": model.size,
        "standard_size": STANDARD_SIZE,
        "illumination": about.illumination,
        "licence": str(dataset.info.get("licence") or "not stated"),
        "decision": {name: list(values) for name, values in chosen.items() if values is not None} or None,
        "temperature": decision.temperature,
        "rules": rules.to_dict(),
        "trained_on": {
            "dataset": about.dataset,
            "fingerprint": about.fingerprint,
            "patients": {split: len(hashes) for split, hashes in about.patients.items()},
            "started_from": model.loaded,
        },
        "metrics": ended_metrics(run).get("test", {}),
    }


def _with_facts(model: ModelProto, facts: dict) -> bytes:
    whole = type(model)()
    whole.CopyFrom(model)
    del whole.metadata_props[:]
    whole.metadata_props.add(key=KEY, value=json.dumps(without_nan(facts), ensure_ascii=False, allow_nan=False))
    return whole.SerializeToString()


def _written(model: ModelProto, facts: dict, precision: str, folder: Path) -> ModelFile:
    """The file as it would be, opened as its users open it."""
    path = folder / f"{precision}.onnx"
    path.write_bytes(_with_facts(model, facts | {"precision": precision}))
    return open_model(path)


def _refuse_difference(parity: Parity, out: Path) -> None:
    if not parity.difference <= TOLERANCE:
        raise UserError(
            f"was not written: a probability differs from PyTorch's by {parity.difference:.1e}, more than {TOLERANCE:g}",
            path=out,
        )


@dataclass(frozen=True)
class _Candidate:
    """A graph that may be written, and what it told about the validation images."""

    model: ModelProto
    precision: str
    told: Told
    parity: Parity


def _smallest(plain: _Candidate, smaller: Iterable[_Candidate]) -> tuple[_Candidate, str]:
    """The first of the smaller ones that does not cost too much, else the plain one; and why others were not kept."""
    notes, chosen = [], plain
    for candidate in smaller:
        if candidate.parity.loss < WORST_LOSS:
            chosen = candidate
            break
        parity = candidate.parity
        torch, file = parity.torch, parity.file
        changed = "" if parity.same is None else f", {parity.images - parity.same} of {parity.images} decisions"
        found = ", ".join(f"{name} {value:.4f} to {file[name]:.4f}" for name, value in torch.items())
        notes.append(f"{candidate.precision} was not kept, for on the validation images it changes {found}{changed}")
    return chosen, "; ".join([*notes, f"written as {chosen.precision}"]) if notes else ""


def _bare(model: ModelProto) -> ModelProto:
    """Without what the exporter notes beside the graph: where in which source file each node comes from."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        if "metadata_props" in part.DESCRIPTOR.fields_by_name:
            part.ClearField("metadata_props")
    graph.ClearField("value_info")
    for number, node in enumerate(graph.node):
        node.name = node.name or f"node {number}"
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's warnings and progress, which are about itself."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
