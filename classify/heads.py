"""What turns a backbone's features into logits: timm's own linear layer, and the heads of the studies.

"linear" is the backbone as timm (or study E) builds it. "dense" is study A's: 256 units and ReLU before the logits. "cbam" is
study B's: channel and spatial attention (Woo et al. 2018, section 3) over the backbone's last map, added to it. "ordinal" is
CORN (Shi, Cao and Raschka 2021): classes in an order, told apart one threshold at a time. "regression" is study C's: one number
for the grade, learned by its squared error.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..runtime.errors import UserError

LINEAR, DENSE, CBAM, ORDINAL, REGRESSION = HEADS = ("linear", "dense", "cbam", "ordinal", "regression")
ORDERED = (ORDINAL, REGRESSION)
_DENSE_UNITS = 256
_ATTENTION_UNITS = 64
_DROPOUT = 0.2


class DenseHead(nn.Sequential):
    """Study A's: 256 units and ReLU before the logits. Float (n, features) -> (n, classes)."""

    def __init__(self, features: int, classes: int):
        super().__init__(nn.Linear(features, _DENSE_UNITS), nn.ReLU(), nn.Linear(_DENSE_UNITS, classes))


class OrdinalHead(nn.Linear):
    """One logit a threshold, as the logarithms of class probabilities, which softmax returns as the probabilities they are.

    Float (n, features) -> float32 (n, classes).
    """

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes - 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return corn_log_probabilities(super().forward(features).float())


def corn_log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Shi, Cao and Raschka 2021, section 3.3: P(y > k) is the product of the conditional P(y > j | y >= j) for j <= k.

    Args:
        logits: float (n, k - 1), of y > j given y >= j, for j = 0..k-2.

    Returns:
        Logarithms of P(y = 0..k-1), float (n, k); their exponentials sum to 1.
    """
    above = functional.logsigmoid(logits).cumsum(dim=1)
    reached = functional.pad(above, (1, 0))
    stopped = functional.pad(functional.logsigmoid(-logits), (0, 1))
    return reached + stopped


def corn_loss(
    log_probabilities: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """CORN's loss (Shi, Cao and Raschka 2021, equation 6): the mean binary cross-entropy of the thresholds that apply.

    An image of class y answers the thresholds 0..min(y, k - 2). Its cross-entropies over them sum to -log P(y), so that the
    loss is that sum over all images, divided by the number of answers.

    Args:
        log_probabilities: float (n, k), see `corn_log_probabilities`.
        truth: int64 (n,), 0..k-1.
        weights: float (k,), how much an image of each class counts.
    """
    answers = (truth + 1).clamp(max=log_probabilities.shape[1] - 1)
    losses = -log_probabilities.gather(1, truth[:, None])[:, 0]
    shares = torch.ones_like(losses) if weights is None else weights[truth]
    return (shares * losses).sum() / (shares * answers).sum()


class RegressionHead(nn.Linear):
    """One number v for the grade, and from it a score for each grade j: -(j - v)^2 / 2.

    The softmax of the scores is a normal distribution around v on the grades 0..k-1, of which the nearest grade is the
    likeliest. Its variance is 1; a temperature is the variance, so that fitting one by maximum likelihood (see
    `calibration.fit_temperature`) fits the spread of the errors. The number can be read from the scores, see `grade_value`.
    It begins at the middle grade.

    Float (n, features) -> float32 (n, classes).
    """

    def __init__(self, features: int, classes: int):
        super().__init__(features, 1)
        self.classes = classes
        nn.init.constant_(self.bias, (classes - 1) / 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        value = super().forward(features).float()
        return -torch.square(torch.arange(self.classes, device=value.device) - value) / 2


def grade_value(scores: torch.Tensor) -> torch.Tensor:
    """The number that `RegressionHead` made its scores of: float (n, classes) -> (n,)."""
    return scores[:, 1] - scores[:, 0] + 0.5


def regression_loss(scores: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error of `grade_value`; arguments as in `corn_loss`."""
    losses = torch.square(grade_value(scores) - truth)
    shares = torch.ones_like(losses) if weights is None else weights[truth]
    return (shares * losses).sum() / shares.sum()


class ChannelAttention(nn.Module):
    """Woo et al. 2018, equation 2: how much each channel counts, from its mean and its maximum through one shared network of
    channels, channels / 4, channels. Float (n, c, h, w) -> float (n, c, 1, 1) in 0..1."""

    def __init__(self, channels: int):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        counts = self.shared(maps.mean(dim=(2, 3))) + self.shared(maps.amax(dim=(2, 3)))
        return torch.sigmoid(counts)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Woo et al. 2018, equation 3: how much each place counts, from the mean and the maximum over channels through a 7x7
    convolution. Float (n, c, h, w) -> float (n, 1, h, w) in 0..1."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([maps.mean(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.convolution(seen))


class CbamHead(nn.Module):
    """Study B's: attention over channels, then over places, added to the map; mean over places, dropout 0.2, 64 units with
    ReLU, logits. Float (n, c, h, w) -> (n, classes)."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.channels, self.places = ChannelAttention(channels), SpatialAttention()
        self.dense = nn.Sequential(
            nn.Dropout(_DROPOUT), nn.Linear(channels, _ATTENTION_UNITS), nn.ReLU(), nn.Linear(_ATTENTION_UNITS, classes)
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        attended = maps * self.channels(maps)
        attended = attended * self.places(attended)
        return self.dense((maps + attended).mean(dim=(2, 3)))


class AttentionNetwork(nn.Module):
    """A timm network up to its last map, and study B's head on it.

    Args:
        backbone: what it does after `forward_features` is removed from it.
        channels: of the last map.
        classes: number of logits.
    """

    def __init__(self, backbone: nn.Module, channels: int, classes: int):
        super().__init__()
        self.backbone, self.head = backbone, CbamHead(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone.forward_features(images))


def with_head(network: nn.Module, classifier: str, head: str, classes: int, size: int) -> nn.Module:
    """The network with another head than timm's; it may be changed in place.

    Args:
        network: a timm network, or study E's.
        classifier: name of its last layer.
        head: one of HEADS.
        classes: number of classes.
        size: side of the square input in pixels.

    Raises:
        UserError: unknown head, or one that this network cannot carry.
    """
    if head == LINEAR:
        return network
    if head not in HEADS:
        raise UserError(f"no head is called {head!r}", hint=f"Use {', '.join(HEADS)}.")
    if head == CBAM:
        return _with_attention(network, classes, size)
    last = network.get_submodule(classifier)
    if not isinstance(last, nn.Linear):
        raise UserError(f"head {head} replaces a linear layer, and this backbone ends in {type(last).__name__}")
    kinds = {DENSE: DenseHead, ORDINAL: OrdinalHead, REGRESSION: RegressionHead}
    network.set_submodule(classifier, kinds[head](last.in_features, classes))
    return network


def _with_attention(network: nn.Module, classes: int, size: int) -> AttentionNetwork:
    shape, idle = _last_map(network, size) if hasattr(network, "forward_features") else ((), [])
    # Some networks return tokens, or maps with channels last.
    if len(shape) != 4 or shape[1] != network.num_features:
        raise UserError(
            "this backbone has no last map with channels first for head cbam", hint="Try mobilenetv3_large_100."
        )
    for name in idle:
        setattr(network, name, nn.Identity())
    return AttentionNetwork(network, shape[1], classes)


def _last_map(network: nn.Module, size: int) -> tuple[tuple[int, ...], list[str]]:
    """Shape of what `forward_features` returns for one image, and the parts of the network that had no part in it."""
    called: set[nn.Module] = set()
    handles = [module.register_forward_hook(lambda module, *_: called.add(module)) for module in network.modules()]
    training = network.training
    try:
        with torch.inference_mode():
            maps = network.eval().forward_features(torch.zeros(1, 3, size, size))
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    idle = [name for name, child in network.named_children() if not called & set(child.modules())]
    return tuple(maps.shape), idle
