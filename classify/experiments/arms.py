"""Arms: the augmentation strategies that a comparison sets against each other."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.errors import UserError
from ..augmentation import make_augmentation

_FILTERED = ":filtered"


@dataclass(frozen=True)
class Arm:
    """One strategy.

    Attributes:
        name: as the user wrote it.
        augment: augmentation of the batch, see `make_augmentation`.
        ratio: synthetic images added to each class, as a multiple of its real training images.
        filtered: of synthetic images without a sound field of view or a disc, near-copies of each other and of training
            eyes, none is added; others are drawn instead, so that the ratio stays.
    """

    name: str
    augment: str = "default"
    ratio: float = 0.0
    filtered: bool = False


def parse_arms(names: list[str]) -> list[Arm]:
    """Arms from their names: default, classical, classical:anemia, classical:odir, classical:dr, classical:mild, randaugment, gan,
    gan:RATIO, gan:filtered, gan:RATIO:filtered, and sums like classical+gan.

    Raises:
        UserError: no arms, an unknown one, the same one twice, or a ratio that is not positive.
    """
    if not names:
        raise UserError("no arms given", hint="Try --arms default,classical,gan.")
    if len(set(names)) < len(names):
        raise UserError(f"an arm is named twice in {','.join(names)}")
    return [_parse_arm(name) for name in names]


def _parse_arm(name: str) -> Arm:
    augment, ratio, filtered = "default", 0.0, False
    for part in name.split("+"):
        if part == "gan" or part.startswith("gan:"):
            filtered = part.endswith(_FILTERED)
            ratio = _ratio(part.removesuffix(_FILTERED))
        elif part in ("classical", "randaugment") or part.startswith("classical:"):
            augment = part
            make_augmentation(augment)
        elif part != "default":
            raise UserError(
                f"no arm is called {name!r}",
                hint="Use default, classical[:odir|:anemia|:dr|:mild], randaugment or gan[:RATIO][:filtered].",
            )
    return Arm(name, augment, ratio, filtered)


def _ratio(part: str) -> float:
    text = part.partition(":")[2] or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 < ratio <= 100:
        raise UserError(f"the ratio of arm {part!r} is not a number above 0", hint="Try gan:1 for as many again.")
    return ratio
