"""A model file of `fundus-classify export`, opened with onnxruntime and numpy alone. Nothing in it is ever unpickled.

The facts about the model are JSON under one key of the file's metadata; `export` writes them.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.errors import UserError
from .answer import Rules
from .onnx_contents import read_metadata

KEY, KIND = "fundus_synth", "fundus-synth model"
MAX_BYTES = 1 << 30
FORMAT = 1
_INPUT = "image"
_TEXTS = ("target", "head", "backbone", "illumination", "licence", "precision")
_SIZES = ("size", "standard_size")


@dataclass(frozen=True)
class Seen:
    """What a model sees in n images: see `network_graph.DeployedNetwork`. Absent outputs are None.

    Attributes:
        probabilities: float32 (n, k), calibrated.
        value: float32 (n,).
        features: float32 (n, d).
        maps: float32 (n, k, h, w).
    """

    probabilities: np.ndarray | None
    value: np.ndarray | None
    features: np.ndarray
    maps: np.ndarray | None

    @property
    def told(self) -> np.ndarray:
        """The probabilities, or the value as (n, 1)."""
        return self.value[:, None] if self.probabilities is None else self.probabilities


class ModelFile:
    """An opened model file; made by `open_model`. The network is loaded in the background, so that a photograph can be decoded
    meanwhile.

    Attributes:
        path: where it lies.
        facts: all that the file says of itself, JSON.
        rules: what an answer follows from.
        classes: names, in the order of the probabilities.
        target, illumination: see `checkpoint.About`.
        size: side of what the network looks at, pixels.
        standard_size: side of the standardised images that it expects, pixels.
    """

    def __init__(self, path: Path, facts: dict, rules: Rules, content: bytes):
        self.path, self.facts, self.rules = path, facts, rules
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self.target, self.illumination = facts["target"], facts["illumination"]
        self.size, self.standard_size = facts["size"], facts["standard_size"]
        pool = ThreadPoolExecutor(1)
        self._loading = pool.submit(_session, content, path)
        pool.shutdown(wait=False)

    @property
    def gives_probabilities(self) -> bool:
        """Whether it tells probabilities of classes, and not a number."""
        return self.rules.half_width is None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the network returns.

        Raises:
            UserError: the network cannot be loaded, or onnxruntime is not installed.
        """
        return tuple(output.name for output in self._loading.result().get_outputs())

    def look(self, images: np.ndarray) -> Seen:
        """Run the network.

        Args:
            images: uint8 (n, side, side, 3) RGB, standardised; side is `standard_size`, or any from `size` upwards.

        Raises:
            UserError: the network cannot be loaded, fails, or returns something else than it should; or onnxruntime is not
                installed.
        """
        session, names = self._loading.result(), self.outputs
        try:
            found = dict(zip(names, session.run(None, {_INPUT: images}), strict=True))
        except Exception as error:
            # onnxruntime's errors have no class in common.
            raise UserError(f"its network failed ({_first_line(error)})", path=self.path) from error
        seen = Seen(found.get("probabilities"), _column(found.get("value")), found.get("features"), found.get("maps"))
        self._check(seen, len(images))
        return seen

    def _check(self, seen: Seen, images: int) -> None:
        told = seen.probabilities if seen.probabilities is not None else seen.value
        rows = (images, len(self.classes)) if seen.probabilities is not None else (images,)
        known = self.rules.familiarity
        features = seen.features is not None and seen.features.ndim == 2 and len(seen.features) == images
        features = features and (known is None or seen.features.shape[1] == known.means.shape[1])
        maps = seen.maps is None or (seen.maps.ndim == 4 and seen.maps.shape[:2] == (images, len(self.classes)))
        if told is None or told.shape != rows or not np.isfinite(told).all() or not features or not maps:
            raise UserError("its network returns something else than it should", path=self.path, hint=_AGAIN)


_AGAIN = "Make it with fundus-classify export."


def open_model(path: Path | str) -> ModelFile:
    """Open a model file, checked before use.

    Raises:
        UserError: missing, larger than 1 GB, no ONNX file, one that is not of `fundus-classify export` or of a newer format, one
            that reaches beyond itself (see `onnx_contents`), or one with damaged facts. A damaged network is told by `look`.
    """
    path = Path(path)
    content = _read(path)
    try:
        metadata = read_metadata(content)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"is not used: {error}", path=path, hint=_AGAIN) from error
    facts = _facts(metadata, path)
    return ModelFile(path, facts, _rules(facts, path), content)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"is larger than {MAX_BYTES >> 20} MB; not a model file", path=path)
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=path) from error


def _facts(metadata: dict[str, str], path: Path) -> dict:
    if KEY not in metadata:
        raise UserError("is an ONNX file, but not a model of fundus-synth", path=path, hint=_AGAIN)
    try:
        facts = json.loads(metadata[KEY])
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError("has damaged metadata", path=path, hint=_AGAIN) from error
    if not isinstance(facts, dict) or facts.get("kind") != KIND:
        raise UserError("is an ONNX file, but not a model of fundus-synth", path=path, hint=_AGAIN)
    if facts.get("format") != FORMAT:
        raise UserError(
            f"has format {facts.get('format')!r}, expected {FORMAT}", path=path, hint="Update fundus-synth."
        )
    classes = facts.get("classes")
    good = isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)
    good = good and all(isinstance(facts.get(name), str) for name in _TEXTS)
    good = good and all(type(facts.get(name)) is int and 1 <= facts[name] <= 4096 for name in _SIZES)
    if not good:
        raise UserError("has incomplete metadata", path=path, hint=_AGAIN)
    return facts


def _rules(facts: dict, path: Path) -> Rules:
    try:
        rules = Rules.from_dict(facts.get("rules"))
    except ValueError as error:
        raise UserError(f"has {error}", path=path, hint=_AGAIN) from error
    if list(rules.classes) != facts["classes"]:
        raise UserError("has rules about other classes", path=path, hint=_AGAIN)
    return rules


def _session(content: bytes, path: Path):
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("model files need onnxruntime", hint="pip install 'fundus-synth[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters comes as an exception
    # Waiting threads that spin take the core that decodes the next file.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"cannot be loaded ({_first_line(error)})", path=path, hint=_AGAIN) from error
    inputs = session.get_inputs()
    if [item.name for item in inputs] != [_INPUT] or inputs[0].type != "tensor(uint8)" or len(inputs[0].shape) != 4:
        raise UserError("does not take uint8 images", path=path, hint=_AGAIN)
    return session


def _column(value: np.ndarray | None) -> np.ndarray | None:
    return None if value is None else value.reshape(len(value), -1)[:, 0]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
