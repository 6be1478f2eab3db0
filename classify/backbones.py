"""Networks that turn a fundus photograph into class scores: study E's CNN and every timm model, behind one
interface."""

from __future__ import annotations

import difflib
from pathlib import Path

import timm
import torch
from timm.layers import PatchEmbed
from torch import nn

from ..runtime.errors import UserError
from ..runtime.weights import WeightFile, load_into, read_weights
from .heads import LINEAR, AttentionNetwork, with_head
from .simple_cnn import SimpleCNN

SIMPLE_CNN = "simple_cnn"
_SMALLEST_MAP = 4
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Classifier(nn.Module):
    """A network with its own normalisation: RGB images with values 0..1 in, logits out.

    Attributes:
        name: "simple_cnn" or a timm name.
        classes: number of logits.
        size: side of the square input in pixels.
        options: what timm.create_model was given beyond name and classes (e.g. pad_type), JSON-able.
        normalization: (mean, std) of R, G, B for values 0..1.
        head: what turns features into logits, see `heads`.
        loaded: which weights it started from, one line for the run's report.

    Shape: float (n, 3, size, size) in 0..1 -> float (n, classes).
    """

    def __init__(self, network: nn.Module, name: str, classes: int, size: int, normalization: tuple, options: dict):
        super().__init__()
        self.network = network
        self.name, self.classes, self.size, self.options = name, classes, size, options
        self.head = LINEAR
        self.loaded = "random weights"
        mean, std = normalization
        self.register_buffer("_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.normalization = (tuple(mean), tuple(std))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - self._mean) / self._std)

    def head_modules(self) -> list[nn.Module]:
        """What turns features into logits."""
        if isinstance(self.network, AttentionNetwork):
            return [self.network.head]
        return [self.network.get_submodule(name) for name in _head_names(self.network)]

    def head_parameters(self) -> list[nn.Parameter]:
        """The head's parameters."""
        return [parameter for module in self.head_modules() for parameter in module.parameters()]

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All others."""
        head = set(map(id, self.head_parameters()))
        return [parameter for parameter in self.parameters() if id(parameter) not in head]

    def gradcam_layer(self) -> nn.Module:
        """Where Grad-CAM looks: the deepest stage whose map has at least 4 x 4 cells (at 224 pixels, the last one).

        Raises:
            UserError: the network has no such convolutional map (e.g. a vision transformer).
        """
        if isinstance(self.network, SimpleCNN):
            return self.network.features
        attention = isinstance(self.network, AttentionNetwork)
        stages = getattr(self.network.backbone if attention else self.network, "feature_info", None) or []
        inside = "backbone." if attention else ""
        stages = [(inside + info["module"], info["num_chs"]) for info in getattr(stages, "info", stages)]
        shapes = _output_shapes(self, [name for name, _ in stages])
        for name, channels in reversed(stages):
            shape = shapes[name]
            # Transformers list blocks too, but those return tokens instead of maps with channels first.
            if len(shape) == 4 and shape[1] == channels and min(shape[2:]) >= _SMALLEST_MAP:
                return self.network.get_submodule(name)
        raise UserError(
            f"backbone {self.name} has no convolutional map for Grad-CAM", hint="Use a convolutional backbone."
        )


def create_backbone(
    name: str,
    classes: int,
    size: int,
    pretrained: bool = False,
    weights: Path | str | None = None,
    options: dict | None = None,
    normalization: tuple | None = None,
    head: str = LINEAR,
) -> Classifier:
    """A classifier on the backbone called `name`.

    Args:
        name: "simple_cnn" (study E) or any timm name.
        classes: how many classes.
        size: side of the square input in pixels, 32..512 for simple_cnn.
        pretrained: download timm's weights.
        weights: a local file instead: safetensors or a plain state dict. The metadata of a safetensors file may give
            `timm` (name, checked), `mean` and `std` (one number each) and `pad_type` ("same" for weights that come from
            TensorFlow): they are obeyed. A file without metadata gets timm's normalisation for this name.
        head: see `heads`; any but "linear" starts from random weights, whatever the file holds.
        options, normalization: as a saved classifier recorded them; for reloading only.

    Raises:
        UserError: unknown name (close matches are listed), a size the network cannot take, weights that are missing,
            unreadable or for another network, a download that failed, or a head that the backbone cannot carry.
    """
    file = read_weights(weights) if weights is not None else None
    if name == SIMPLE_CNN:
        model = _simple_cnn(classes, size, pretrained)
    else:
        model = _timm_model(name, classes, size, pretrained, _options(name, size, file) if options is None else options)
    if normalization is not None or file is not None:
        mean, std = normalization or _normalization(model, file)
        model = Classifier(model.network, name, classes, size, (mean, std), model.options)
    if file is not None:
        _load(model, file)
    elif pretrained:
        model.loaded = f"timm's pretrained weights ({model.network.pretrained_cfg.get('tag') or 'default'})"
    if head != LINEAR:
        _replace_head(model, head)
    return model


def _replace_head(model: Classifier, head: str) -> None:
    model.network = with_head(model.network, _head_names(model.network)[0], head, model.classes, model.size)
    model.head = head
    model.loaded = model.loaded.replace("with its head", "with a new head")


def _simple_cnn(classes: int, size: int, pretrained: bool) -> Classifier:
    if pretrained:
        raise UserError("there are no pretrained weights for simple_cnn", hint="Use a timm backbone.")
    if not 32 <= size <= 512:
        raise UserError(f"simple_cnn takes images of 32 to 512 pixels, not {size}")
    return Classifier(SimpleCNN(classes, size), SIMPLE_CNN, classes, size, _HALF, {})


def _timm_model(name: str, classes: int, size: int, pretrained: bool, options: dict) -> Classifier:
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=classes, **options)
    except Exception as error:
        if not pretrained:
            raise UserError(f"backbone {name} cannot be made ({_first_line(error)})") from error
        # Whatever stops a download (proxy, offline, no such weights), the remedy is the same.
        raise UserError(
            f"timm could not fetch weights for {name} ({_first_line(error)})", hint="Give a local file with --weights."
        ) from error
    config = network.pretrained_cfg
    _calm_head(network)
    _check_size(network, name, size)
    return Classifier(network, name, classes, size, (config["mean"], config["std"]), options)


def _options(name: str, size: int, file: WeightFile | None) -> dict:
    if not timm.is_model(name):
        known = [SIMPLE_CNN, *timm.list_models()]
        close = difflib.get_close_matches(name, known, n=5) or [SIMPLE_CNN, "mobilenetv2_100", "resnet18"]
        raise UserError(f"no backbone is called {name!r}", hint=f"Perhaps {', '.join(close)}.")
    config = timm.get_pretrained_cfg(name)
    options: dict = {"img_size": size} if config is not None and config.fixed_input_size else {}
    if file is not None and file.facts.get("pad_type"):
        options["pad_type"] = file.facts["pad_type"]
    return options


def _normalization(model: Classifier, file: WeightFile) -> tuple:
    mean, std = file.number("mean"), file.number("std")
    own_mean, own_std = model.normalization
    return (own_mean if mean is None else (mean,) * 3), (own_std if std is None else (std,) * 3)


def _load(model: Classifier, file: WeightFile) -> None:
    made_for = file.facts.get("timm") or file.facts.get("backbone")
    if made_for and made_for != model.name:
        raise UserError(
            f"holds weights of {made_for}, not {model.name}", path=file.path, hint=f"Use --backbone {made_for}."
        )
    with_head = load_into(model.network, file, _head_names(model.network))
    model.loaded = (
        f"{file.path.name} (sha256 {file.sha256[:12]}), {'with its head' if with_head else 'with a new head'}"
    )


def _head_names(network: nn.Module) -> tuple[str, ...]:
    if isinstance(network, SimpleCNN):
        return ("head",)
    names = network.pretrained_cfg["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def _calm_head(network: nn.Module) -> None:
    """Small random weights for the head: some of timm's recipes scale with the number of classes and, for two classes
    on 1280 features, begin with a cross-entropy of 5 and spend the first epochs unlearning it."""
    for name in _head_names(network):
        head = network.get_submodule(name)
        if isinstance(head, nn.Linear):
            head.reset_parameters()


def _check_size(network: nn.Module, name: str, size: int) -> None:
    patches = getattr(network, "patch_embed", None)
    # The rest of a division would be cut off without a word.
    if isinstance(patches, PatchEmbed) and not patches.dynamic_img_pad and size % patches.patch_size[0]:
        raise UserError(f"backbone {name} takes images of a multiple of {patches.patch_size[0]} pixels, not {size}")
    training = network.training
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(f"backbone {name} cannot take images of {size} pixels ({_first_line(error)})") from error
    network.train(training)


def _output_shapes(model: Classifier, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shape of what each of these modules of the network returns for one image; () when it is not a tensor."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str):
        layer = model.network.get_submodule(name)
        return layer.register_forward_hook(lambda _, __, out: shapes.update({name: tuple(getattr(out, "shape", ()))}))

    handles, training = [watch(name) for name in names], model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, model.size, model.size, device=model._mean.device))
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return shapes


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
